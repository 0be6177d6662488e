//! Log lines of builds and instances: NDJSON, one [`LogRecord`] per line.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use domain::{
    id::{BuildId, DeploymentId, InstanceId},
    name::Name,
};

/// One line of a log stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum LogRecord {
    /// A line that a program wrote.
    Line(LogLine),
    /// Lines that were lost here (rate limit, disk budget).
    Gap {
        /// The instance that wrote them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        instance_id: Option<InstanceId>,
        /// When the loss was told.
        at: DateTime<Utc>,
        /// How many.
        dropped: u64,
    },
    /// Nothing new; sent while following so that silence means a broken line.
    Idle,
}

/// A line that a program wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogLine {
    /// By the node's clock.
    pub at: DateTime<Utc>,
    /// The instance that wrote it; absent for builds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<InstanceId>,
    /// The build that wrote it; absent for instances.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build_id: Option<BuildId>,
    /// The deployment it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment_id: Option<DeploymentId>,
    /// Where it was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<Name>,
    /// Where it was written to.
    pub stream: LogStream,
    /// Without the line's end.
    pub text: String,
}

/// Where a line was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Which lines of a service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct LogQuery {
    /// From this time on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<DateTime<Utc>>,
    /// Before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<DateTime<Utc>>,
    /// At most so many of the newest lines, 1 to 10,000; 100 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1, maximum = 10000)]
    pub limit: Option<u32>,
    /// Lines that contain this text (case doesn't matter).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(max_length = 500)]
    pub filter: Option<String>,
    /// Go on with new lines until the client leaves.
    #[serde(default)]
    #[param(default = false)]
    pub follow: bool,
    /// Only lines of this deployment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment_id: Option<DeploymentId>,
}

/// Which lines of a build.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct BuildLogQuery {
    /// Go on with new lines until the build ends.
    #[serde(default)]
    #[param(default = false)]
    pub follow: bool,
}
