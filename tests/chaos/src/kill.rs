//! `kill -9` at random moments of random processes, one kind as likely as another.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use chrono::{DateTime, Utc};
use e2e::platform::{Platform, Process};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rand::{RngExt as _, rngs::StdRng, seq::IndexedRandom as _};
use tokio::time::{Instant, sleep};

use crate::{
    history::{History, Kill, kind},
    world::Deployment,
};

/// What the platform must survive; what else `./dev up` starts is scaffolding.
const KINDS: [&str; 8] = [
    "control-plane",
    "agent",
    "edge",
    "postgres",
    "redis",
    "engine",
    "build-engine",
    "registry",
];
const LOOK_EVERY: Duration = Duration::from_millis(250);
const BACK_WITHIN: Duration = Duration::from_secs(60);

/// Kills one process after another.
pub struct Killer<'a> {
    platform: &'a Platform,
    choices: StdRng,
    kills: Vec<Kill>,
    /// Those not back yet: process id before, and which of `kills`.
    away: HashMap<String, (i32, usize)>,
}

impl<'a> Killer<'a> {
    /// Nothing is killed yet.
    pub fn new(platform: &'a Platform, choices: StdRng) -> Self {
        Self {
            platform,
            choices,
            kills: Vec::new(),
            away: HashMap::new(),
        }
    }

    /// `count` kills with pauses within `pauses`; returns when every process is back.
    pub async fn run(mut self, count: usize, pauses: Range<Duration>) -> Result<Vec<Kill>> {
        while self.kills.len() < count {
            let next = Instant::now() + self.choices.random_range(pauses.clone());
            while Instant::now() < next {
                sleep(LOOK_EVERY).await;
                let processes = self.platform.status_now().await?.processes;
                self.look(&processes);
            }
            let processes = self.platform.status_now().await?.processes;
            self.look(&processes);
            self.kill_one(&processes)?;
        }
        self.wait_for_all().await?;
        Ok(self.kills)
    }

    /// Takes note of what is back.
    fn look(&mut self, processes: &[Process]) {
        let is_back = |name: &str, before: i32| {
            let now = processes.iter().find(|process| process.name == name);
            now.is_some_and(|now| now.state == "ready" && now.pid != Some(before))
        };
        let kills = &mut self.kills;
        self.away.retain(|name, (before, index)| {
            let back = is_back(name, *before);
            if back && let Some(kill) = kills.get_mut(*index) {
                kill.back = Some(Utc::now());
            }
            !back
        });
    }

    /// What is away already can't be killed, so sometimes there is nothing to kill.
    fn kill_one(&mut self, processes: &[Process]) -> Result<()> {
        let mut kinds: BTreeMap<&str, Vec<(&str, i32)>> = BTreeMap::new();
        for process in processes.iter().filter(|process| process.state == "ready") {
            let kind = kind(&process.name);
            if let Some(pid) = process.pid.filter(|_| KINDS.contains(&kind)) {
                kinds.entry(kind).or_default().push((&process.name, pid));
            }
        }
        let kinds: Vec<_> = kinds.into_values().collect();
        let Some((name, pid)) = kinds
            .choose(&mut self.choices)
            .and_then(|all| all.choose(&mut self.choices))
        else {
            return Ok(());
        };
        kill(Pid::from_raw(*pid), Signal::SIGKILL).with_context(|| format!("killing {name}"))?;
        self.away
            .insert((*name).to_owned(), (*pid, self.kills.len()));
        self.kills.push(Kill {
            process: (*name).to_owned(),
            at: Utc::now(),
            back: None,
            edge: self.edge_of(name),
        });
        Ok(())
    }

    fn edge_of(&self, process: &str) -> Option<std::net::SocketAddr> {
        let region = process.strip_suffix("-edge")?;
        self.platform.status.edges.get(region).copied()
    }

    async fn wait_for_all(&mut self) -> Result<()> {
        let deadline = Instant::now() + BACK_WITHIN;
        while !self.away.is_empty() {
            ensure!(
                Instant::now() < deadline,
                "not back after {BACK_WITHIN:?}: {:?}",
                self.away.keys()
            );
            sleep(LOOK_EVERY).await;
            let processes = self.platform.status_now().await?.processes;
            self.look(&processes);
        }
        Ok(())
    }
}

/// How many kills there were of each kind.
pub fn counts(kills: &[Kill]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for kill in kills {
        *counts.entry(kill.kind()).or_default() += 1;
    }
    counts
}

/// How many kills met a deployment in each of its steps.
pub fn phases<'a>(
    kills: &[Kill],
    deployments: impl IntoIterator<Item = &'a Deployment>,
) -> BTreeMap<&'static str, usize> {
    let mut phases = BTreeMap::new();
    for deployment in deployments {
        let ends = deployment.steps.iter().skip(1).map(|(_, at)| *at);
        for ((step, began), ended) in deployment.steps.iter().zip(ends) {
            let met = kills
                .iter()
                .filter(|kill| kill.at >= *began && kill.at < ended);
            *phases.entry(step.as_str()).or_default() += met.count();
        }
    }
    phases
}

/// How many kills met a deployment for each reason, or a change of scale, between its request and its end.
pub fn reasons<'a>(history: &History, deployments: &'a [Deployment]) -> BTreeMap<&'a str, usize> {
    let met = |(began, ended): (DateTime<Utc>, DateTime<Utc>)| {
        let all = history.kills.iter();
        all.filter(|kill| kill.at >= began && kill.at < ended)
            .count()
    };
    let scaling = history.scaling.iter().copied();
    let mut reasons = BTreeMap::from([("scale", scaling.map(met).sum())]);
    for deployment in deployments {
        let (first, last) = (deployment.steps.first(), deployment.steps.last());
        if let (Some((_, began)), Some((_, ended))) = (first, last) {
            let reason = deployment.reason.as_str();
            *reasons.entry(reason).or_default() += met((*began, *ended));
        }
    }
    reasons
}
