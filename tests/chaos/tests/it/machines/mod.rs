//! Disks that are full, read-only or hang and clocks that are wrong, each under another process at the same time.
//! Meanwhile users are served, every acknowledged write is kept, and no certificate between nodes is refused; when it
//! is over, all converges.
//!
//! Not among them: the regions' engines, for what they keep is the root of every container that runs, and can't be
//! moved to another disk under it; and the registry, which only builds and first pulls need.

mod clock;
mod disk;
mod fault;
mod log;

use std::time::Duration;

use anyhow::{Result, ensure};
use api::deployment::{CreateDeployment, Deployment, DeploymentSource, DeploymentState};
use chaos::{
    history::{Answer, History, Kill, Write},
    judge::{self, Demands},
    observe, report,
    scale::{self, Scale},
    work::Work,
    world::World,
};
use chrono::Utc;
use domain::id::{DeploymentId, ServiceId};
use e2e::{
    platform::{Fixture, Platform},
    wait,
};
use futures::future::{join_all, try_join_all};
use rand::seq::IndexedRandom as _;
use serde_json::{Value, json};
use tokio::{sync::watch, time::sleep};

use self::{
    fault::{Fault, Machine, ROUNDS, duration, hanging, lets_changes_through, takes_the_database},
    log::Tail,
};
use crate::support::{
    CONVERGED_WITHIN, assert_the_judge_can_fail, converged, deployed, load, told,
};

const ASKED_WITHIN: Duration = Duration::from_secs(30);
const CHANGED_WITHIN: Duration = Duration::from_secs(60);
const REQUESTS_AT_LEAST: usize = 200;

/// A platform, a tenant's service, and who was told of which of its deployments.
struct Stage {
    platform: Platform,
    fixture: Fixture,
    told: Vec<Write<ServiceId, DeploymentId>>,
}

#[tokio::test]
async fn users_are_served_by_bad_disks_and_clocks_and_all_converges_after_them() -> Result<()> {
    let seed = scale::seed();
    report::say(&format!("RAILHEAD_CHAOS_SEED={seed}"));
    let platform = Platform::alone().await?;
    let fixture = deployed(&platform).await?;
    let first = platform.newest_deployment(fixture.service.id).await?;
    let mut stage = Stage {
        told: vec![told(&first)],
        platform,
        fixture,
    };
    let count = Scale::of_this_run().of(ROUNDS.len());
    let (mut rounds, mut wrong) = (Vec::new(), Vec::new());
    for faults in ROUNDS.sample(&mut scale::choices(seed), count) {
        report::say(&format!("{faults:?}"));
        match Box::pin(stage.round(faults)).await {
            Ok(round) => rounds.push(round),
            Err(error) => {
                report::say(&format!("{error:#}"));
                wrong.push(format!("{faults:?}: {error:#}"));
            }
        }
    }
    let report = json!({ "seed": seed.to_string(), "rounds": rounds, "wrong": wrong });
    report::write("machines", &report)?;
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    stage.platform.delete(&stage.fixture).await
}

/// What was seen of a round.
struct Suffered {
    kills: Vec<Kill>,
    /// The second one was under way when clocks became right again.
    changes: Vec<Deployment>,
    took: Duration,
}

impl Stage {
    async fn round(&mut self, faults: &[Fault]) -> Result<Value> {
        let logs = self.logs()?;
        let machines = try_join_all(faults.iter().map(|fault| fault.prepare(&self.platform)));
        let machines = machines.await?;
        let suffered = self.judged(faults, &machines).await;
        if suffered.is_err() {
            // They may have been healed already.
            join_all(machines.iter().map(Machine::heal)).await;
        }
        let away = machines.into_iter();
        let away = try_join_all(away.map(|machine| machine.put_away(&self.platform))).await;
        let report = suffered?;
        away?;
        for log in logs {
            let refused = log.refused_certificates()?;
            ensure!(refused.is_empty(), "{}", refused.join("\n"));
        }
        Ok(report)
    }

    /// Of all nodes: whichever end refuses, they say so.
    fn logs(&self) -> Result<Vec<Tail>> {
        let names = self.platform.status.processes.iter();
        let names = names.map(|process| process.name.as_str());
        names
            .filter(|name| name.ends_with("-agent") || name.ends_with("-edge"))
            .map(|name| Tail::of(&self.platform, name))
            .collect()
    }

    /// Under load and with a tenant who sets variables.
    async fn judged(&mut self, faults: &[Fault], machines: &[Machine]) -> Result<Value> {
        let load = load(&self.platform, &self.fixture);
        let (stop, stopped) = watch::channel(false);
        let work = Work::new(&self.platform, stopped);
        let suffering = async {
            let suffered = suffer(
                &self.platform,
                &self.fixture,
                &mut self.told,
                faults,
                machines,
            );
            let suffered = suffered.await;
            stop.send_replace(true);
            suffered
        };
        let (suffered, set) = tokio::join!(suffering, work.set_variables(&self.fixture));
        let requests = load.stop().await.records;
        let suffered = suffered?;
        set?;
        let history = History {
            deployments: self.told.clone(),
            kills: suffered.kills.clone(),
            requests,
            ..work.into_history()
        };
        let world = observe::world(&self.platform, self.fixture.environment).await?;
        self.conclude(faults, &suffered, &history, world).await
    }

    async fn conclude(
        &self,
        faults: &[Fault],
        suffered: &Suffered,
        history: &History,
        world: World,
    ) -> Result<Value> {
        for change in &suffered.changes {
            self.is_live(change).await?;
        }
        let demands = Demands {
            requests: REQUESTS_AT_LEAST,
            deployments: 1,
            live: 1,
            kills: suffered.kills.len(),
            phases: &[],
        };
        let verdict = judge::judge(history, &world, &demands);
        ensure!(verdict.is_pass(), "{verdict}");
        assert_the_judge_can_fail(history, world, demands);
        Ok(json!({
            "faults": format!("{faults:?}"),
            "converged_seconds": suffered.took.as_secs_f64(),
            "requests": history.requests.len(),
            "requests_failed_with_their_edge": judge::excused(history),
            "variables_set": history.variables.len(),
            "kills": suffered.kills.len(),
        }))
    }

    async fn is_live(&self, change: &Deployment) -> Result<()> {
        let change = self.platform.deployment(change).await?;
        ensure!(
            change.state == DeploymentState::Live,
            "change {} is {:?}: {:?}",
            change.number,
            change.state,
            change.error
        );
        Ok(())
    }
}

async fn suffer(
    platform: &Platform,
    fixture: &Fixture,
    told: &mut Vec<Write<ServiceId, DeploymentId>>,
    faults: &[Fault],
    machines: &[Machine],
) -> Result<Suffered> {
    // What can't be asked for meanwhile is asked for before.
    let early = match takes_the_database(faults) {
        true => Some(ask(platform, fixture, told).await?),
        false => None,
    };
    let before = hanging(platform, faults).await?;
    try_join_all(machines.iter().map(|machine| machine.begin(platform))).await?;
    let change = match early {
        Some(change) => change,
        None => ask(platform, fixture, told).await?,
    };
    let kills = last(platform, faults, machines).await?;
    if lets_changes_through(faults) {
        ended(platform, &change).await?;
    }
    try_join_all(machines.iter().map(Machine::insist)).await?;
    let mut changes = vec![change];
    if lets_changes_through(faults) {
        // Clocks jump back amid leases, and amid a change.
        changes.push(ask(platform, fixture, told).await?);
    }
    try_join_all(machines.iter().map(Machine::heal)).await?;
    if let [_, amid_healing] = &changes[..] {
        let state = platform.deployment(amid_healing).await?.state;
        ensure!(!state.is_final(), "an invalid run: it was {state:?}");
    }
    let took = converged(platform, fixture, CONVERGED_WITHIN).await?;
    let after = hanging(platform, faults).await?;
    ensure!(
        after == before,
        "ended because a disk hung: {before:?} are {after:?} now"
    );
    Ok(Suffered {
        kills,
        changes,
        took,
    })
}

async fn ended(platform: &Platform, change: &Deployment) -> Result<()> {
    wait::outcome(CHANGED_WITHIN, || async {
        let state = platform.deployment(change).await?.state;
        ensure!(
            state.is_final(),
            "a change is {state:?} while clocks are wrong"
        );
        Ok(())
    })
    .await
}

/// Whoever can be killed in the midst of it is, and begins with the disk or the clock as it is.
async fn last(platform: &Platform, faults: &[Fault], machines: &[Machine]) -> Result<Vec<Kill>> {
    let half = duration(faults) / 2;
    sleep(half).await;
    let mut killed = Vec::new();
    for (fault, machine) in faults.iter().zip(machines) {
        if machine.is_begun_with(platform) {
            killed.push(begun_again(platform, fault.process(), machine));
        }
    }
    let kills = try_join_all(killed).await?;
    sleep(half).await;
    Ok(kills)
}

async fn begun_again(platform: &Platform, process: &str, machine: &Machine) -> Result<Kill> {
    let region = process.strip_suffix("-edge");
    let at = Utc::now();
    let pid = platform.kill(process).await?;
    platform.wait_ready(process, Some(pid)).await;
    machine.worsen().await?;
    Ok(Kill {
        process: process.to_owned(),
        at,
        back: Some(Utc::now()),
        edge: region.and_then(|region| platform.status.edges.get(region).copied()),
    })
}

/// Again until it is acknowledged: one of the control planes may not be able to.
async fn ask(
    platform: &Platform,
    fixture: &Fixture,
    told: &mut Vec<Write<ServiceId, DeploymentId>>,
) -> Result<Deployment> {
    let service = fixture.service.id;
    let path = format!("/v1/services/{service}/deployments");
    let deadline = tokio::time::Instant::now() + ASKED_WITHIN;
    loop {
        let request = CreateDeployment {
            source: Some(DeploymentSource::Current),
        };
        let answer: Result<Deployment, _> = platform.client.post(&path, &request).await;
        let problem = match answer {
            Ok(change) => {
                told.push((service, Answer::Acknowledged(change.id)));
                return Ok(change);
            }
            Err(error) => error,
        };
        let late = tokio::time::Instant::now() >= deadline;
        let text = problem.to_string();
        told.push((service, Answer::of(Err(problem))));
        ensure!(!late, "asking for a deployment: {text}");
        sleep(Duration::from_millis(500)).await;
    }
}
