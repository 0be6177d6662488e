//! Disks that are full, read-only or hang and clocks that are wrong, each under another process at the same time.
//! Meanwhile users are served, every acknowledged write is kept, and no certificate between nodes is refused; when it
//! is over, all converges.

mod builds;
mod changes;
mod clock;
mod disk;
mod fault;
mod log;
mod place;

use std::time::Duration;

use anyhow::{Result, ensure};
use api::deployment::Deployment;
use chaos::{
    history::{History, Kill},
    judge::{self, Demands},
    observe, report,
    scale::{self, Scale},
    work::Work,
    world::World,
};
use chrono::Utc;
use e2e::platform::{Fixture, Platform};
use futures::future::{join_all, try_join_all};
use rand::seq::IndexedRandom as _;
use serde_json::{Value, json};
use tokio::{sync::watch, time::sleep};

use self::{
    changes::{Told, again, ask},
    fault::{
        Fault, Machine, REGISTRY, ROUNDS, delays_what_was_asked, duration, hanging,
        keeps_builds_waiting, lets_changes_through, takes_the_database,
    },
    log::Tail,
};
use crate::support::{
    CONVERGED_WITHIN, assert_the_judge_can_fail, converged, deployed, load, told,
};

/// A build's step is tried again after 5 s at most, what an engine has refused after 16 s; then there is the rest of it.
const DONE_AND_CONVERGED_WITHIN: Duration = Duration::from_secs(60);
const REQUESTS_AT_LEAST: usize = 200;

/// A platform, a tenant's service, and who was told of which of its deployments.
struct Stage {
    platform: Platform,
    fixture: Fixture,
    told: Told,
}

#[tokio::test]
async fn users_are_served_by_bad_disks_and_clocks_and_all_converges_after_them() -> Result<()> {
    let run = report::Seeded::begin("machines")?;
    let count = Scale::of_this_run().of(ROUNDS.len());
    let chosen: Vec<&[Fault]> = ROUNDS
        .sample(&mut scale::choices(run.seed()), count)
        .copied()
        .collect();
    report::say(&format!("{chosen:?}"));
    let platform = Platform::alone().await?;
    let fixture = deployed(&platform).await?;
    let first = platform.newest_deployment(fixture.service.id).await?;
    let mut stage = Stage {
        told: vec![told(&first)],
        platform,
        fixture,
    };
    let (mut rounds, mut wrong) = (Vec::new(), Vec::new());
    for faults in chosen {
        report::say(&format!("{faults:?}"));
        match Box::pin(stage.round(faults)).await {
            Ok(round) => rounds.push(round),
            Err(error) => {
                report::say(&format!("{error:#}"));
                wrong.push(format!("{faults:?}: {error:#}"));
            }
        }
    }
    run.end(json!({ "rounds": rounds, "wrong": wrong }))?;
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    stage.platform.delete(&stage.fixture).await
}

/// What was seen of a round.
struct Suffered {
    kills: Vec<Kill>,
    changes: Vec<Deployment>,
    took: Duration,
}

impl Stage {
    async fn round(&mut self, faults: &[Fault]) -> Result<Value> {
        let logs = self.logs()?;
        let newcomers = match keeps_builds_waiting(faults) {
            true => builds::newcomers(&self.platform).await?,
            false => Vec::new(),
        };
        let machines = try_join_all(faults.iter().map(|fault| fault.prepare(&self.platform)));
        let machines = machines.await?;
        let suffered = self.judged(faults, &machines, &newcomers).await;
        if suffered.is_err() {
            // They may have been healed already.
            join_all(machines.iter().map(Machine::heal)).await;
        }
        let away = machines.into_iter();
        let away = try_join_all(away.map(|machine| machine.put_away(&self.platform))).await;
        let gone = self.forget(&newcomers).await;
        let report = suffered?;
        away.and(gone)?;
        for log in logs {
            let refused = log.refused_certificates()?;
            ensure!(refused.is_empty(), "{}", refused.join("\n"));
        }
        Ok(report)
    }

    async fn forget(&mut self, newcomers: &[Fixture]) -> Result<()> {
        for newcomer in newcomers {
            let its = newcomer.service.id;
            self.told.retain(|(service, _)| *service != its);
            self.platform.delete(newcomer).await?;
        }
        Ok(())
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
    async fn judged(
        &mut self,
        faults: &[Fault],
        machines: &[Machine],
        newcomers: &[Fixture],
    ) -> Result<Value> {
        let load = load(&self.platform, &self.fixture);
        let (stop, stopped) = watch::channel(false);
        let work = Work::new(&self.platform, stopped);
        let suffering = async {
            let tenants = (&self.fixture, newcomers);
            let suffered = suffer(&self.platform, tenants, &mut self.told, faults, machines);
            let suffered = Box::pin(suffered).await;
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
        changes::are_live(&self.platform, &suffered.changes).await?;
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
}

/// Whoever asks for changes: the tenant whose users are served, and those who were never built.
type Tenants<'a> = (&'a Fixture, &'a [Fixture]);

async fn suffer(
    platform: &Platform,
    (fixture, newcomers): Tenants<'_>,
    told: &mut Told,
    faults: &[Fault],
    machines: &[Machine],
) -> Result<Suffered> {
    // What can't be asked for meanwhile is asked for before.
    let early = match takes_the_database(faults) {
        true => Some(ask(platform, fixture, told, again()).await?),
        false => None,
    };
    let before = hanging(platform, faults).await?;
    let registry = Tail::of(platform, REGISTRY)?;
    try_join_all(machines.iter().map(|machine| machine.begin(platform))).await?;
    let mut changes = match early {
        Some(change) => vec![change],
        None => vec![ask(platform, fixture, told, again()).await?],
    };
    let builds = builds::begin(platform, newcomers, told).await?;
    let kills = last(platform, faults, machines).await?;
    if lets_changes_through(faults) {
        changes::ended(platform, &changes).await?;
    }
    if keeps_builds_waiting(faults) {
        builds::suffer(platform, &builds, faults, &registry).await?;
    }
    // A registry gives back what it has of an upload that it can't end.
    try_join_all(machines.iter().map(Machine::worsen)).await?;
    try_join_all(machines.iter().map(Machine::insist)).await?;
    builds::still_go_on(platform, &builds).await?;
    if lets_changes_through(faults) {
        // Clocks jump back amid leases, and amid a change.
        changes.push(ask(platform, fixture, told, again()).await?);
    }
    try_join_all(machines.iter().map(Machine::heal)).await?;
    if lets_changes_through(faults) {
        changes::under_way(platform, changes.last()).await?;
    }
    changes.extend(builds.into_iter().map(|build| build.deployment));
    let limit = match delays_what_was_asked(faults) {
        true => DONE_AND_CONVERGED_WITHIN,
        false => CONVERGED_WITHIN,
    };
    let took = converged(platform, fixture, limit).await?;
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

/// Whoever can be killed in the midst of it is, and begins with the disk or the clock as it is.
async fn last(platform: &Platform, faults: &[Fault], machines: &[Machine]) -> Result<Vec<Kill>> {
    let half = duration(faults) / 2;
    sleep(half).await;
    let mut killed = Vec::new();
    for (fault, machine) in faults.iter().zip(machines) {
        if machine.is_begun_with() {
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
