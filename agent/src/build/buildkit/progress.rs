//! Turns BuildKit's status messages into the lines that people read, and remembers which step
//! failed.

use std::collections::{BTreeSet, HashMap, VecDeque};

use bollard::moby::buildkit::v1::{StatusResponse, Vertex, VertexLog};

use protocol::log::Stream;

use crate::build::{base_image::BaseImage, log::Log};

/// Most steps of one build that are shown.
const STEPS_MAX: usize = 10_000;
/// A line that never ends is shown in pieces of this size.
const LINE_MAX: usize = 16 * 1024;
/// Lines of a failed step that its error shows.
const TAIL: usize = 5;
/// Base images that are remembered.
const BASES_MAX: usize = 8;

/// The step that ended the build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedStep {
    /// As BuildKit calls it, such as `[2/3] RUN make`.
    pub name: String,
    /// The last lines of its output.
    pub output: Vec<String>,
}

/// What is known of a build's steps.
pub struct Progress {
    log: Log,
    steps: HashMap<String, Step>,
    /// Digest and name.
    failed: Option<(String, String)>,
    bases: BTreeSet<BaseImage>,
}

/// What happened to a step with a status message.
enum News {
    Began,
    Cached,
    Failed,
}

impl Progress {
    /// Lines go to `log`.
    pub fn new(log: Log) -> Self {
        Self {
            log,
            steps: HashMap::new(),
            failed: None,
            bases: BTreeSet::new(),
        }
    }

    /// The images that the build began with.
    pub fn bases(&self) -> impl Iterator<Item = &BaseImage> {
        self.bases.iter()
    }

    /// The step that failed, if one did.
    pub fn failed(&self) -> Option<FailedStep> {
        let (digest, name) = self.failed.as_ref()?;
        let output = self.steps.get(digest).map(|step| step.tail.iter().cloned());
        Some(FailedStep {
            name: name.clone(),
            output: output.into_iter().flatten().collect(),
        })
    }

    pub(super) fn update(&mut self, status: StatusResponse) {
        for vertex in &status.vertexes {
            self.vertex(vertex);
        }
        for log in &status.logs {
            self.output(log);
        }
    }

    /// Shows lines that were begun and never ended.
    pub(super) fn finish(&mut self) {
        for step in self.steps.values_mut() {
            for stream in [Stream::Stdout, Stream::Stderr] {
                step.end_line(stream, &self.log);
            }
        }
    }

    fn vertex(&mut self, vertex: &Vertex) {
        let Some(step) = step(&mut self.steps, &vertex.digest) else {
            return;
        };
        if self.bases.len() < BASES_MAX {
            self.bases.extend(BaseImage::of_step(&vertex.name));
        }
        let internal = vertex.name.starts_with("[internal]");
        for news in step.news(vertex) {
            let (stream, text) = match news {
                News::Failed => (Stream::Stderr, format!("ERROR {}", vertex.error)),
                _ if internal => continue,
                News::Began => (Stream::Stdout, vertex.name.clone()),
                News::Cached => (Stream::Stdout, "CACHED".to_owned()),
            };
            self.log.line(stream, &format!("#{} {text}", step.number));
        }
        if !vertex.error.is_empty() {
            self.failed
                .get_or_insert_with(|| (vertex.digest.clone(), vertex.name.clone()));
        }
    }

    fn output(&mut self, log: &VertexLog) {
        let Some(step) = step(&mut self.steps, &log.vertex) else {
            return;
        };
        let stream = if log.stream == 2 {
            Stream::Stderr
        } else {
            Stream::Stdout
        };
        for &byte in &log.msg {
            let partial = step.partial.entry(stream).or_default();
            if byte == b'\n' || partial.len() >= LINE_MAX {
                step.end_line(stream, &self.log);
            }
            if byte != b'\n' {
                step.partial.entry(stream).or_default().push(byte);
            }
        }
    }
}

/// The step of a digest, numbered when it is new.
fn step<'a>(steps: &'a mut HashMap<String, Step>, digest: &str) -> Option<&'a mut Step> {
    if !steps.contains_key(digest) && steps.len() < STEPS_MAX {
        let step = Step {
            number: steps.len() + 1,
            ..Step::default()
        };
        steps.insert(digest.to_owned(), step);
    }
    steps.get_mut(digest)
}

#[derive(Default)]
struct Step {
    number: usize,
    announced: bool,
    ended: bool,
    partial: HashMap<Stream, Vec<u8>>,
    tail: VecDeque<String>,
}

impl Step {
    fn news(&mut self, vertex: &Vertex) -> Vec<News> {
        let mut news = Vec::new();
        if vertex.started.is_some() && !self.announced {
            self.announced = true;
            news.push(News::Began);
        }
        if vertex.completed.is_some() && !self.ended {
            self.ended = true;
            if !vertex.error.is_empty() {
                news.push(News::Failed);
            } else if vertex.cached {
                news.push(News::Cached);
            }
        }
        news
    }

    fn end_line(&mut self, stream: Stream, log: &Log) {
        let Some(bytes) = self.partial.remove(&stream) else {
            return;
        };
        let text = String::from_utf8_lossy(&bytes);
        let text = text.trim_end_matches('\r');
        log.line(stream, &format!("#{} {text}", self.number));
        if self.tail.len() >= TAIL {
            self.tail.pop_front();
        }
        self.tail.push_back(text.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use async_trait::async_trait;
    use domain::id::BuildId;
    use protocol::log::{LogLine, LogSource};

    use super::*;
    use crate::build::log::{self, LogSink};

    #[derive(Default)]
    struct Kept(Mutex<Vec<String>>);

    #[async_trait]
    impl LogSink for Kept {
        async fn append(&self, _: LogSource, lines: Vec<LogLine>, _: u64) {
            let texts = lines.into_iter().map(|line| line.text);
            self.0.lock().unwrap().extend(texts);
        }
        async fn end(&self, _: LogSource) {}
    }

    fn vertex(digest: &str, name: &str, ended: bool, error: &str) -> Vertex {
        let now = Some(Default::default());
        Vertex {
            digest: digest.into(),
            name: name.into(),
            started: now,
            completed: if ended { now } else { None },
            error: error.into(),
            ..Vertex::default()
        }
    }

    fn said(digest: &str, text: &str) -> VertexLog {
        VertexLog {
            vertex: digest.into(),
            stream: 1,
            msg: text.as_bytes().to_vec(),
            ..VertexLog::default()
        }
    }

    #[tokio::test]
    async fn lines_are_whole_and_the_failed_step_keeps_its_last_ones() {
        let sink = Arc::new(Kept::default());
        let (log, writer) = log::begin(BuildId::new(), sink.clone());
        let mut progress = Progress::new(log);
        for status in [
            StatusResponse {
                vertexes: vec![
                    vertex("i", "[internal] load", false, ""),
                    vertex("a", "[1/1] RUN x", false, ""),
                ],
                logs: vec![said("a", "one\ntw")],
                ..StatusResponse::default()
            },
            StatusResponse {
                vertexes: vec![vertex("a", "[1/1] RUN x", true, "exit code: 1")],
                logs: vec![said("a", "o\n\nlast")],
                ..StatusResponse::default()
            },
        ] {
            progress.update(status);
        }
        progress.finish();
        let failed = progress.failed().unwrap();
        assert_eq!(failed.name, "[1/1] RUN x");
        assert_eq!(failed.output, ["one", "two", "", "last"]);
        drop(progress);
        writer.end(Stream::Stdout, "end").await;
        let kept = sink.0.lock().unwrap();
        let wanted = [
            "#2 [1/1] RUN x",
            "#2 one",
            "#2 ERROR exit code: 1",
            "#2 two",
            "#2 ",
            "#2 last",
            "end",
        ];
        assert_eq!(*kept, wanted);
    }
}
