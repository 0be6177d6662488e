//! Turns BuildKit's status messages into the lines that people read, and remembers which step
//! failed.

use std::collections::HashMap;

use bollard::moby::buildkit::v1::{StatusResponse, Vertex, VertexLog};

use protocol::log::Stream;

use crate::build::log::Log;

/// Most steps of one build that are told apart; later ones share the last number.
const STEPS_MAX: usize = 10_000;
/// A line that never ends is shown in pieces of this size.
const LINE_MAX: usize = 16 * 1024;

/// The step that ended the build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedStep {
    /// As BuildKit calls it, such as `[2/3] RUN make`.
    pub name: String,
    /// BuildKit's words.
    pub error: String,
}

/// What is known of a build's steps.
pub struct Progress {
    log: Log,
    steps: HashMap<String, Step>,
    failed: Option<FailedStep>,
}

struct Step {
    number: usize,
    announced: bool,
    ended: bool,
    partial: HashMap<Stream, Vec<u8>>,
}

impl Progress {
    /// Lines go to `log`.
    pub fn new(log: Log) -> Self {
        Self {
            log,
            steps: HashMap::new(),
            failed: None,
        }
    }

    /// The step that failed, if one did.
    pub fn failed(&self) -> Option<&FailedStep> {
        self.failed.as_ref()
    }

    pub(super) fn update(&mut self, status: StatusResponse) {
        for vertex in status.vertexes {
            self.vertex(&vertex);
        }
        for log in &status.logs {
            self.output(log);
        }
    }

    /// Shows lines that were begun and never ended.
    pub(super) fn finish(&mut self) {
        for step in self.steps.values_mut() {
            for (stream, rest) in step.partial.drain().filter(|(_, rest)| !rest.is_empty()) {
                self.log.line(stream, &text(step.number, &rest));
            }
        }
    }

    fn vertex(&mut self, vertex: &Vertex) {
        let number = self.number(&vertex.digest);
        let Some(step) = self.steps.get_mut(&vertex.digest) else {
            return;
        };
        let shown = !vertex.name.starts_with("[internal]");
        if vertex.started.is_some() && !step.announced {
            step.announced = true;
            if shown {
                self.log
                    .line(Stream::Stdout, &format!("#{number} {}", vertex.name));
            }
        }
        if vertex.completed.is_none() || step.ended {
            return;
        }
        step.ended = true;
        if !vertex.error.is_empty() {
            self.log
                .line(Stream::Stderr, &format!("#{number} ERROR {}", vertex.error));
            self.failed.get_or_insert_with(|| FailedStep {
                name: vertex.name.clone(),
                error: vertex.error.clone(),
            });
        } else if shown && vertex.cached {
            self.log.line(Stream::Stdout, &format!("#{number} CACHED"));
        }
    }

    fn output(&mut self, log: &VertexLog) {
        let number = self.number(&log.vertex);
        let Some(step) = self.steps.get_mut(&log.vertex) else {
            return;
        };
        let stream = if log.stream == 2 {
            Stream::Stderr
        } else {
            Stream::Stdout
        };
        let partial = step.partial.entry(stream).or_default();
        for &byte in &log.msg {
            if byte == b'\n' || partial.len() >= LINE_MAX {
                self.log.line(stream, &text(number, partial));
                partial.clear();
            }
            if byte != b'\n' {
                partial.push(byte);
            }
        }
    }

    fn number(&mut self, digest: &str) -> usize {
        if let Some(step) = self.steps.get(digest) {
            return step.number;
        }
        let number = (self.steps.len() + 1).min(STEPS_MAX);
        if number < STEPS_MAX {
            let step = Step {
                number,
                announced: false,
                ended: false,
                partial: HashMap::new(),
            };
            self.steps.insert(digest.to_owned(), step);
        }
        number
    }
}

fn text(number: usize, bytes: &[u8]) -> String {
    let line = String::from_utf8_lossy(bytes);
    format!("#{number} {}", line.trim_end_matches('\r'))
}
