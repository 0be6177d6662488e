//! Builds on machines: the agent's real queue decides what is made; the engine takes its time, and mostly succeeds.

use std::{collections::BTreeMap, sync::Arc};

use agent::build::{Error, Items, Queue, Record};
use chrono::{DateTime, Utc};
use domain::{id::BuildId, quantity::Bytes};
use protocol::{
    item::{BuildItem, BuildSource},
    report::{BuildResult, Problem},
};

use crate::{
    clock::{self, Millis, SECOND},
    network::Peer,
    trace::Note,
    world::{Event, World},
};

/// Dockerfiles that don't work, per mille.
const BROKEN: u32 = 50;

/// What an agent's process knows of builds.
#[derive(Debug, Default)]
pub struct Builder {
    pub queue: Queue,
    /// Of the newest document.
    pub wanted: Items,
    running: Option<Running>,
    runs: u64,
}

/// A build under way.
#[derive(Debug)]
struct Running {
    run: u64,
    item: Arc<BuildItem>,
    canceled: bool,
}

impl Builder {
    /// As a former process left it.
    #[must_use]
    pub fn resumed(records: &BTreeMap<BuildId, Record>) -> Self {
        Self {
            queue: Queue::resumed(records.clone()),
            ..Self::default()
        }
    }

    /// Whether one is under way.
    #[must_use]
    pub const fn is_busy(&self) -> bool {
        self.running.is_some()
    }

    /// Follows the newest document: the run that shall end now, and one that begins.
    fn follow(&mut self, now: DateTime<Utc>) -> (Option<u64>, Option<u64>) {
        let ends = self.queue.follow(&self.wanted);
        let running = self.running.as_mut();
        let ended = running.filter(|running| ends && !running.canceled);
        let ended = ended.map(|running| {
            running.canceled = true;
            running.run
        });
        let begun = self.queue.begin(&self.wanted, now).map(|item| {
            self.runs += 1;
            self.running = Some(Running {
                run: self.runs,
                item,
                canceled: false,
            });
            self.runs
        });
        (ended, begun)
    }
}

impl World {
    /// An agent does as its newest document says about builds; its disk has it before anybody hears of it.
    pub(crate) fn follow_builds(&mut self, index: usize) {
        let now = clock::wall(self.now);
        let node = &mut self.nodes[index];
        let Some(agent) = node.agent.as_mut() else {
            return;
        };
        if !agent.knows_a_document() {
            return;
        }
        let boot = agent.boot;
        let (ended, begun) = agent.builder.follow(now);
        for (id, record) in agent.builder.queue.take_unsaved() {
            match record {
                Some(record) => node.disk.builds.insert(id, record),
                None => node.disk.builds.remove(&id),
            };
        }
        if let Some(run) = ended {
            let takes = self.random.between(5, 60);
            self.after(takes, Event::Built(index, boot, run));
        }
        if let Some(run) = begun {
            let takes = self.build_takes();
            self.after(takes, Event::Built(index, boot, run));
            self.note(Note::Action(index, format!("builds for {takes} ms")));
            self.report_soon(Peer::Agent(index));
        }
    }

    fn build_takes(&mut self) -> Millis {
        if self.weather.builds && self.random.chance(500) {
            self.random.between(10 * SECOND, 200 * SECOND)
        } else if self.random.chance(100) {
            self.random.between(20 * SECOND, 120 * SECOND)
        } else {
            self.random.between(SECOND, 10 * SECOND)
        }
    }

    /// A build ends, if it is still that run.
    pub(crate) fn built(&mut self, index: usize, boot: u64, run: u64) {
        let agent = self.nodes[index].agent.as_mut();
        let builder = agent.filter(|agent| agent.boot == boot);
        let builder = builder.map(|agent| &mut agent.builder);
        let ended = builder.and_then(|it| it.running.take_if(|running| running.run == run));
        let Some(ended) = ended else {
            return;
        };
        let result = match ended.canceled {
            true => Err(Error::Canceled.problem()),
            false => self.make_image(index, &ended.item),
        };
        let what = result
            .as_ref()
            .map_or_else(|problem| &problem.code, |made| &made.digest);
        self.note(Note::Action(index, format!("{} is {what}", ended.item.id)));
        if let Some(agent) = self.nodes[index].agent.as_mut() {
            agent.builder.queue.finish(result);
        }
        self.follow_builds(index);
        self.report_soon(Peer::Agent(index));
    }

    /// No two runs make the same image, as in most builds of the world.
    fn make_image(&mut self, index: usize, item: &BuildItem) -> Result<BuildResult, Problem> {
        if self.random.chance(BROKEN) {
            let what = "a command in it".to_owned();
            return Err(Error::DockerfileFailed { what }.problem());
        }
        let digest = format!("sha256:{}", self.some_digest());
        let program = self.program_of(name_of(&item.source));
        let image = format!("{}@{digest}", item.repository);
        self.programs.insert(image, program);
        let node = self.nodes[index].id;
        self.checker.built(digest.clone(), item.id, node);
        Ok(BuildResult {
            digest,
            size: Bytes::mebibytes(100),
            commit: None,
            source_digest: None,
        })
    }

    /// A digest that nothing else has.
    pub(crate) fn some_digest(&mut self) -> String {
        format!("{:016x}", self.random.number()).repeat(4)
    }
}

/// By which the program is known that a source is of.
fn name_of(source: &BuildSource) -> &str {
    match source {
        BuildSource::Git { reference, .. } => reference.as_deref().unwrap_or_default(),
        BuildSource::Archive { sha256, .. } => sha256,
        BuildSource::Image { .. } => "",
    }
}
