//! A machine of which nobody hears anything: what may run twice is replaced elsewhere, what never may waits
//! for an operator's word, and nothing else is touched. Back again, it ends what it has before it counts for anything.

use std::{ops::RangeInclusive, time::Duration};

use anyhow::{Context as _, Result, ensure};
use api::{
    instance::Instance,
    node::{Node, NodeRole},
    service::Service,
};
use chaos::{
    history::{Answer, History},
    judge::{self, Demands, Loss, Verdict, Violation, Wrong},
    observe, report,
    runs::{Engine, Run, Watch},
    silence,
    world::World,
};
use chrono::{DateTime, Utc};
use domain::{
    id::ServiceId,
    instance::{Desired, State},
};
use e2e::{
    command::succeed,
    load::{Kind, Load, Rate},
    machine::Machine,
    platform::{Fixture, Platform, railhead},
    scale::Scale,
    wait,
};
use serde_json::{Value, json};

use super::drain::operate;

/// A node is late by then, and lost after another [`LOST_AFTER`].
const LATE_AFTER: Duration = Duration::from_secs(46);
const LOST_AFTER: Duration = Duration::from_secs(76);
/// All of it and what is done about it, where time is not helped along.
const WITHIN: Duration = Duration::from_secs(180);
const CONVERGED_WITHIN: Duration = Duration::from_secs(30);
const LOAD: [Rate; 2] = [
    Rate {
        kind: Kind::Get1,
        per_second: 5.0,
    },
    Rate {
        kind: Kind::Get2,
        per_second: 5.0,
    },
];
const DEMANDS: Demands = Demands {
    requests: 50,
    deployments: 2,
    live: 2,
    kills: 0,
    phases: &[],
};

/// A service of the fixture's environment; what it runs is on the same machine.
pub async fn service_that_never_runs_twice(
    platform: &Platform,
    fixture: &Fixture,
    mut spec: Value,
) -> Result<ServiceId> {
    spec["deploy"]["strategy"] = json!("recreate");
    let path = format!("/v1/environments/{}/services", fixture.environment);
    let request = json!({ "name": "alone", "spec": spec });
    let service: Service = platform.client.post(&path, &request).await?;
    Ok(service.id)
}

/// A machine, and what runs there.
pub struct Lost<'a> {
    pub platform: &'a Platform,
    pub machine: &'a Machine,
    pub name: &'a str,
    /// The other nodes' agents.
    pub others: &'a [Node],
    /// It may run twice for a while.
    pub rolling: &'a Fixture,
    /// It never may, and runs on the machine.
    pub alone: ServiceId,
}

impl Lost<'_> {
    /// Cuts the machine off until it is lost, declares it dead, and lets it come back; then the judge's turn.
    pub async fn is_replaced_and_comes_back(&self) -> Result<()> {
        operate(self.platform, "uncordon", &[self.name]).await?;
        let rolling = self.rolling.service.id;
        self.platform.scale(rolling, &[("us-east", 2)]).await?;
        self.are_ready(rolling, 1, 1..=1).await?;
        let watch = Watch::begin(self.engines()).await?;

        let cut = self.machine.cut_off(self.platform)?;
        let load = Load::start(&self.platform.edges(&self.rolling.host), &LOAD);
        self.falls_silent().await?;
        self.are_ready(rolling, 2, 0..=1).await?;
        // It was looked at as often as the other one.
        self.are_ready(self.alone, 0, 1..=1).await?;
        let fenced = Utc::now();
        self.is_declared_dead().await?;
        self.are_ready(self.alone, 1, 0..=0).await?;
        ensure!(cut.packets()? > 0, "an invalid run: no packet was lost");
        drop(cut);
        let healed = Utc::now();

        let lifted = self.is_let_in().await?;
        let world = self.converged().await?;
        let converged = Utc::now();
        let history = self.history(load).await?;
        let verdict = judge::judge(&history, &world, &DEMANDS);
        ensure!(verdict.is_pass(), "{verdict}");
        let loss = Loss {
            node: self.name.to_owned(),
            fenced,
            lifted,
            rolling: rolling.to_string(),
            alone: self.alone.to_string(),
            runs: watch.runs().await?,
        };
        let verdict = judge::judge_loss(&loss);
        ensure!(verdict.is_pass(), "{verdict}in {loss:#?}");
        assert_the_judge_can_fail(&loss);
        let seconds = |until: DateTime<Utc>| (until - healed).as_seconds_f64();
        let report = json!({
            "requests": history.requests.len(),
            "let_in_seconds": seconds(lifted),
            "converged_seconds": seconds(converged),
        });
        report::write("lost", &report)
    }

    /// Those of the regions' nodes and the machine's.
    fn engines(&self) -> Vec<Engine> {
        let regions = self.platform.status.regions.iter();
        let regions = regions.map(|(name, region)| Engine {
            node: name.clone(),
            socket: region.docker_socket.clone(),
        });
        let machine = Engine {
            node: self.name.to_owned(),
            socket: self.machine.engine_socket(),
        };
        regions.chain([machine]).collect()
    }

    /// Until it is lost. Only the full scale waits for that; else its time passes at once.
    async fn falls_silent(&self) -> Result<()> {
        self.passes(LATE_AFTER).await?;
        wait::outcome(WITHIN, || async {
            for node in self.nodes().await? {
                let status = node.status.context("it has never reported")?;
                ensure!(
                    status.late_since.is_some(),
                    "the {:?} is on time",
                    node.role
                );
            }
            Ok(())
        })
        .await?;
        self.passes(LOST_AFTER).await
    }

    async fn passes(&self, time: Duration) -> Result<()> {
        match Scale::of_this_run() {
            Scale::Tenth => silence::passes(self.platform, self.name, time).await,
            Scale::Full => Ok(()),
        }
    }

    /// The machine's agent and edge.
    async fn nodes(&self) -> Result<Vec<Node>> {
        let mut nodes: Vec<Node> = self.platform.client.list("/v1/nodes").await?;
        nodes.retain(|node| node.name.as_str() == self.name && !node.denied);
        ensure!(nodes.len() == 2, "{nodes:?}");
        Ok(nodes)
    }

    /// Until so many of a service are ready elsewhere, and so many wanted there; no others are under way.
    async fn are_ready(
        &self,
        service: ServiceId,
        elsewhere: usize,
        there: RangeInclusive<usize>,
    ) -> Result<()> {
        let path = format!("/v1/services/{service}/instances");
        wait::outcome(WITHIN, || async {
            let mut all: Vec<Instance> = self.platform.client.list(&path).await?;
            all.retain(|one| one.desired == Desired::Run && one.state != State::Stopped);
            let (other, here): (Vec<_>, Vec<_>) =
                all.iter().partition(|one| self.is_elsewhere(one));
            let ready = all.iter().all(|instance| instance.ready);
            ensure!(
                ready && other.len() == elsewhere && there.contains(&here.len()),
                "wanted {elsewhere} elsewhere and {there:?} there of {all:#?}"
            );
            Ok(())
        })
        .await
    }

    fn is_elsewhere(&self, instance: &Instance) -> bool {
        self.others.iter().any(|node| node.id == instance.node_id)
    }

    async fn is_declared_dead(&self) -> Result<()> {
        let mut fence = railhead(self.platform)?;
        fence.args([
            "node",
            "fence",
            self.name,
            "--reason",
            "it is silent",
            "--yes",
        ]);
        succeed(&mut fence).await.map(drop)
    }

    /// When it was seen to be let in again: it has ended all that it had.
    async fn is_let_in(&self) -> Result<DateTime<Utc>> {
        wait::outcome(CONVERGED_WITHIN, || async {
            let nodes = self.nodes().await?;
            let mut agents = nodes.iter().filter(|node| node.role == NodeRole::Agent);
            let agent = agents.next().context("no agent")?;
            ensure!(!agent.fenced, "it is fenced");
            ensure!(
                !agent.schedulable,
                "nobody has taken it back, and it is in service"
            );
            Ok(Utc::now())
        })
        .await
    }

    /// What there is once rows, containers and routes agree, the machine's too.
    async fn converged(&self) -> Result<World> {
        wait::outcome(CONVERGED_WITHIN, || async {
            let mut world = observe::world(self.platform, self.rolling.environment).await?;
            observe::machine_has(&mut world, "us-east", &self.machine.engine_socket()).await?;
            let wrong = judge::wrong_with(&History::default(), &world);
            let text: Vec<_> = wrong.iter().map(ToString::to_string).collect();
            ensure!(wrong.is_empty(), "{}", text.join("\n"));
            Ok(world)
        })
        .await
    }

    async fn history(&self, load: Load) -> Result<History> {
        let mut deployments = Vec::new();
        for service in [self.rolling.service.id, self.alone] {
            let newest = self.platform.newest_deployment(service).await?;
            deployments.push((service, Answer::Acknowledged(newest.id)));
        }
        let scale = (self.rolling.service.id, "us-east", 2);
        Ok(History {
            deployments,
            scales: vec![(scale, Answer::Acknowledged(()))],
            requests: load.stop().await.records,
            ..History::default()
        })
    }
}

/// Had the replacement not waited for the fence, and had the old copy outlived it.
fn assert_the_judge_can_fail(loss: &Loss) {
    let too_soon = planted(
        loss,
        |run| run.node != loss.node,
        |run| {
            run.began = loss.fenced - Duration::from_secs(1);
        },
    );
    assert!(
        matches!(too_soon[..], [Violation::Loss(Wrong::RanTwice(..))]),
        "{too_soon:?}"
    );
    let outlived = planted(loss, |run| run.node == loss.node, |run| run.ended = None);
    assert!(
        matches!(outlived[..], [Violation::Loss(Wrong::OutlivedTheFence(_))]),
        "{outlived:?}"
    );
}

/// What the judge says when the run of the service that never may run twice is another one.
fn planted(loss: &Loss, is_it: impl Fn(&Run) -> bool, spoil: impl Fn(&mut Run)) -> Vec<Violation> {
    let mut loss = loss.clone();
    let mut of_it = loss.runs.iter_mut();
    let run = of_it.find(|run| run.service == loss.alone && is_it(run));
    spoil(run.expect("it ran there and elsewhere"));
    match judge::judge_loss(&loss) {
        Verdict::Fail(violations) => violations,
        other => panic!("{other}"),
    }
}
