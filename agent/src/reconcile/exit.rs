//! Why a container has ended, in words that say what to do.

use protocol::{
    item::{InstanceItem, RunMode},
    report::Problem,
};

use super::Record;
use crate::runtime::Phase;

use crate::restart;

/// What containerd says of an end that it has not seen (its `UnknownExitStatus`). Programs may end with it as well.
const UNKNOWN: i64 = 255;

/// The end of one run of a container that was meant to go on.
pub(super) struct Exit {
    /// None when it is lost.
    pub(super) exit_code: Option<i64>,
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
        let Some(exit_code) = self.exit_code else {
            return Some(self.lost(item));
        };
        let code = explained(exit_code);
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
            RunMode::Once { .. } if exit_code == 0 => return None,
            RunMode::Once { .. } => (
                "exited",
                format!("it ended with exit code {code}: its logs say why"),
            ),
            RunMode::Service { .. } => (
                "exited",
                format!(
                    "the program ended by itself with exit code {code}: its logs say why; {}",
                    self.again()
                ),
            ),
        };
        Some(Problem {
            code: problem.to_owned(),
            message,
        })
    }

    fn lost(&self, item: &InstanceItem) -> Problem {
        match &item.run {
            RunMode::Once { .. } => EXIT_CODE_LOST.problem(),
            RunMode::Service { .. } => Problem {
                code: EXIT_CODE_LOST.code.to_owned(),
                message: format!("{}; {}", EXIT_CODE_LOST.why, self.again()),
            },
        }
    }

    fn again(&self) -> String {
        let delay = restart::after_exit(self.failures);
        format!("it is started again in {} s", delay.as_secs())
    }
}

/// What the engine says of an end, unless that may mean that nobody has seen it.
pub(super) fn known_code(exit_code: i64, is_seen: bool) -> Option<i64> {
    (is_seen || exit_code != UNKNOWN).then_some(exit_code)
}

/// The end of a command of which nobody knows whether it did its work.
struct Unknown {
    code: &'static str,
    why: &'static str,
}

const CONTAINER_LOST: Unknown = Unknown {
    code: "container_lost",
    why: "its container was removed by someone else",
};
const START_CUT_OFF: Unknown = Unknown {
    code: "start_cut_off",
    why: "the container engine ended while it was started, and it is not started twice",
};
const EXIT_CODE_LOST: Unknown = Unknown {
    code: "exit_code_lost",
    why: "it ended while the container engine or the node's agent was away, and its exit code is lost",
};

impl Unknown {
    fn problem(&self) -> Problem {
        Problem {
            code: self.code.to_owned(),
            message: format!("{}; whether it did its work is not known", self.why),
        }
    }
}

/// Why nobody knows how far its only run came, if nobody does.
pub(super) fn unknown(phase: Option<Phase>, record: &Record) -> Option<Problem> {
    let has_no_code = record.exit_code.is_none();
    let unknown = match phase {
        None if record.launched && has_no_code => CONTAINER_LOST,
        Some(Phase::CutOff) => START_CUT_OFF,
        Some(Phase::Ended { .. }) if has_no_code => EXIT_CODE_LOST,
        _ => return None,
    };
    Some(unknown.problem())
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
