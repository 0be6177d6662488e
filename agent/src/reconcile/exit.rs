//! Why a container has ended, in words that say what to do.

use protocol::{
    item::{InstanceItem, RunMode},
    report::Problem,
};

use super::Record;
use crate::runtime::Phase;

use crate::restart;

/// The end of one run of a container that was meant to go on.
pub(super) struct Exit {
    pub(super) exit_code: i64,
    /// The kernel ended it.
    pub(super) out_of_memory: bool,
    /// The agent ended it, because its time was over.
    pub(super) timed_out: bool,
    /// Ends in a row.
    pub(super) failures: u32,
}

impl Exit {
    /// None when all is well: a command that has done its work.
    pub(super) fn problem(&self, item: &InstanceItem) -> Option<Problem> {
        let code = explained(self.exit_code);
        let (problem, message) = match &item.run {
            _ if self.out_of_memory => (
                "out_of_memory",
                format!(
                    "the kernel ended it at its memory limit of {}: raise scale.resources.memory",
                    item.resources.memory
                ),
            ),
            RunMode::Once { timeout } if self.timed_out => (
                "timed_out",
                format!("it was ended because it ran longer than {timeout}"),
            ),
            RunMode::Once { .. } if self.exit_code == 0 => return None,
            RunMode::Once { .. } => (
                "exited",
                format!("it ended with exit code {code}: its logs say why"),
            ),
            RunMode::Service { .. } => (
                "exited",
                format!(
                    "the program ended by itself with exit code {code}: its logs say why; it is started again in {} s",
                    restart::after_exit(self.failures).as_secs()
                ),
            ),
        };
        Some(Problem {
            code: problem.to_owned(),
            message,
        })
    }
}

/// Why nobody knows how far its only run came, if nobody does.
pub(super) fn unknown(phase: Option<Phase>, record: &Record) -> Option<Problem> {
    let (code, why) = match phase {
        None if record.launched && record.exit_code.is_none() => (
            "container_lost",
            "its container was removed by someone else",
        ),
        Some(Phase::CutOff) => (
            "start_cut_off",
            "the container engine ended while it was started, and it is not started twice",
        ),
        _ => return None,
    };
    Some(Problem {
        code: code.to_owned(),
        message: format!("{why}; whether it did its work is not known"),
    })
}

/// With the meaning that shells and the engine's init give to some codes.
fn explained(exit_code: i64) -> String {
    match exit_code {
        126 => "126 (the command is no executable program)".to_owned(),
        127 => "127 (no such command in the image)".to_owned(),
        137 => "137 (SIGKILL)".to_owned(),
        143 => "143 (SIGTERM)".to_owned(),
        other => other.to_string(),
    }
}
