//! Whose failure it is when a deployment fails, told by its code: the platform's own are counted and must stay
//! rare; those of the user's source, image or settings say nothing about the platform.

use super::machine::Failure;

/// What the user's side can do wrong. Any other code, also one that is not known here, is the platform's. An image that is
/// not there counts as a wrong name even where the platform's own registry has lost it: its "not there" is the same for
/// both, and nobody keeps a list of the base images that there have been (docs/guide/errors.md).
const USERS: [&str; 44] = [
    // Sources
    "repository_not_found",
    "repository_private",
    "repository_unreachable",
    "repository_host_key_changed",
    "repository_refused",
    "repository_empty",
    "repository_too_large",
    "reference_not_found",
    "fetch_failed",
    "archive_invalid",
    "archive_not_found",
    "root_not_found",
    "dockerfile_not_found",
    // Builds and images
    "dockerfile_failed",
    "base_image_not_found",
    "base_image_private",
    "base_image_unreachable",
    "base_image_refused",
    "image_not_found",
    "image_private",
    "image_unreachable",
    "image_refused",
    "image_reference_invalid",
    "wrong_architecture",
    "build_timed_out",
    "build_canceled",
    "canceled",
    "build_secret_missing",
    // Settings
    "reference_circular",
    "reference_unresolved",
    "release_not_found",
    "nothing_to_build",
    "release_command_failed",
    // Instances
    "image_runs_as_root",
    "start_failed",
    "exited",
    "crash_loop",
    "out_of_memory",
    "timed_out",
    "startup_probe_failing",
    "startup_probe_failed",
    "readiness_probe_failed",
    "liveness_probe_failed",
    "secret_missing",
];

/// Whose failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Source, image or settings.
    User,
    /// Anything else.
    Platform,
}

impl Cause {
    /// Of a deployment that failed.
    #[must_use]
    pub fn of(failure: &Failure) -> Self {
        if USERS.contains(&failure.code.as_str()) {
            Self::User
        } else {
            Self::Platform
        }
    }

    /// The word in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Platform => "platform",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_to_be_the_user_s_is_the_platform_s() {
        let cause = |code: &str| Cause::of(&Failure::new(code, "")).as_str();
        for code in ["dockerfile_failed", "base_image_not_found", "exited"] {
            assert_eq!(cause(code), "user", "{code}");
        }
        for code in [
            "push_failed",
            "build_engine_failed",
            "registry_unavailable",
            "build_interrupted",
            "starting_timed_out",
            "no_capacity",
            "exit_code_lost",
            "start_cut_off",
            "container_lost",
            "a_code_of_tomorrow",
        ] {
            assert_eq!(cause(code), "platform", "{code}");
        }
    }
}
