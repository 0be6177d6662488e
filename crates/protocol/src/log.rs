//! `POST /node/v1/logs`: batches of log lines on their way to the log store (docs/adr/0010).

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use domain::id::{BuildId, InstanceId};

/// Lines of one source, in order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogBatch {
    /// Which program wrote them.
    pub source: LogSource,
    /// Position of the first line in its source, so that a batch sent twice is stored once.
    pub first_line: u64,
    /// At most 1,000 lines and 1 MiB.
    pub lines: Vec<LogLine>,
    /// Lines lost since the previous batch (rate limit, disk budget): shown as a gap.
    #[serde(default)]
    pub dropped: u64,
}

/// Which program wrote a line. The control plane adds organization and service by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogSource {
    /// A running (or one-shot) container.
    Instance(InstanceId),
    /// A build.
    Build(BuildId),
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// By the node's clock.
    pub at: DateTime<Utc>,
    /// Where it was written to.
    pub stream: Stream,
    /// Without the line's end; at most 16 KiB, then cut.
    pub text: String,
}

/// Where a line was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}
