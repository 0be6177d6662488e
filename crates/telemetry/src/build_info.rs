//! Which build this is: shown by `--version`, in reports and on `/metrics`.

use std::fmt;

/// Which build this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BuildInfo {
    /// Of the workspace.
    pub version: &'static str,
    /// The git commit, when the build was told by `RAILHEAD_COMMIT`.
    pub commit: Option<&'static str>,
}

impl BuildInfo {
    /// Of this process.
    #[must_use]
    pub const fn current() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            commit: option_env!("RAILHEAD_COMMIT"),
        }
    }
}

impl fmt::Display for BuildInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.version)?;
        match self.commit {
            Some(commit) => write!(f, " ({commit})"),
            None => Ok(()),
        }
    }
}
