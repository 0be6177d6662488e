//! What a user asks of a service: the part of `railhead.toml` under `[services.<name>]`, with the
//! same words. Unknown fields are refused; numbers are checked by [`ServiceSpec::check`], so that
//! one place says what is allowed.

mod check;
mod deploy;
mod edge;
mod network;
mod scale;
mod source;
mod traffic;

use serde::{Deserialize, Serialize};

use crate::instance::Duplication;

pub use check::{InvalidSpec, REPLICAS_MAX, check_rules, is_path_prefix, is_probe_path};
pub use deploy::{Confinement, DeploySpec, Probe, StopSignal, Strategy};
pub use edge::{
    AllowAction, BasicAuthAction, BlockAction, CONDITION_MAX, EdgeAction, EdgeRule, EdgeSpec,
    HeaderChanges, HeadersAction, InvalidPasswordHash, InvalidRateLimitKey, MaintenanceAction,
    PasswordHash, RULES_MAX, RateLimitAction, RateLimitKey, RedirectAction, RewriteAction,
};
pub use network::{NetworkSpec, Timeouts};
pub use scale::{Resources, ScaleSpec};
pub use source::{BuildSpec, GitSource, ImageSource, Source, check_repo, is_git_ref};
pub use traffic::{Breaker, Limits, Protocol, Retries, Sticky, check_hsts};

/// Everything a user asks of one service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ServiceSpec {
    /// What kind of program it is.
    #[serde(rename = "type", default)]
    pub kind: ServiceKind,
    /// Where the image comes from. Absent until the first `up` or `deploy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// How the image is built.
    #[serde(default)]
    pub build: BuildSpec,
    /// How a version is started and replaced.
    #[serde(default)]
    pub deploy: DeploySpec,
    /// How many, where, how large.
    #[serde(default)]
    pub scale: ScaleSpec,
    /// How traffic reaches it.
    #[serde(default)]
    pub network: NetworkSpec,
    /// What the edge does with its requests first.
    #[serde(default, skip_serializing_if = "EdgeSpec::is_empty")]
    pub edge: EdgeSpec,
}

impl ServiceSpec {
    /// Says everything that is wrong, not only the first thing.
    #[must_use]
    pub fn check(&self) -> Vec<InvalidSpec> {
        check::faults(self)
    }

    /// Whether a second copy may run while a node is cut off.
    #[must_use]
    pub fn duplication(&self) -> Duplication {
        match self.deploy.strategy {
            Strategy::Rolling => Duplication::Allowed,
            Strategy::Recreate => Duplication::Never,
        }
    }
}

/// What kind of program a service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ServiceKind {
    /// Answers HTTP from the internet and the private network.
    #[default]
    Web,
    /// Answers on the private network only.
    Private,
    /// Listens to nothing.
    Worker,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quantity::Span;

    #[test]
    fn an_empty_specification_has_sound_defaults() {
        let spec: ServiceSpec = serde_json::from_str("{}").unwrap();
        assert_eq!(spec.check(), []);
        assert_eq!(spec.deploy.draining, Span::seconds(30));
        assert_eq!(spec.network.port, 8080);
    }

    #[test]
    fn unknown_fields_are_refused() {
        for text in [
            r#"{"deploy":{"strategi":"rolling"}}"#,
            r#"{"source":{"repo":"https://a/b","brunch":"x"}}"#,
        ] {
            assert!(serde_json::from_str::<ServiceSpec>(text).is_err(), "{text}");
        }
    }
}
