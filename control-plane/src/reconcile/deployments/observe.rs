//! What can be seen of a deployment right now, as facts for its machine. The deciding part is pure.

use std::collections::BTreeMap;

use domain::{
    deployment::{
        Source,
        acknowledgement::judge,
        machine::{Fact, Failure, Outcome, Step},
    },
    instance::State,
    name::Name,
    spec::ServiceKind,
};

use super::release_command;
use crate::store::{
    Error,
    deployment::{self, Deployment, Instance},
    evaluation::{self, Shortage},
    placement::{self, Service},
    route,
    tx::SystemTx,
};

/// Restarts after which an instance that has never been ready will not be.
const RESTARTS_MAX: i32 = 3;

/// Problems that waiting does not solve.
const HOPELESS: [&str; 5] = [
    "image_missing",
    "wrong_architecture",
    "image_runs_as_root",
    "start_failed",
    "startup_probe_failed",
];

/// Facts in the order of their weight; the last one is that time passes.
pub(super) async fn facts(
    tx: &mut SystemTx,
    service: &Service,
    deployment: &Deployment,
) -> Result<Vec<Fact>, Error> {
    let mut facts = Vec::new();
    // Once it shifts nobody stops it; a newer one only spares it the waiting for late edges.
    let can_end = deployment.state.step < Step::Shifting;
    if can_end && (deployment.cancel_requested || service.deleted) {
        facts.push(Fact::Cancel);
    }
    if deployment.newer_waits && (can_end || deployment.state.late_until.is_some()) {
        facts.push(Fact::Newer);
    }
    match deployment.state.step {
        Step::Queued if !deployment.older_at_work => facts.push(Fact::Turn {
            build: matches!(
                deployment.source,
                Source::Git { .. } | Source::Archive { .. }
            ),
        }),
        Step::Building => {
            let build = deployment::build(tx, deployment.id).await?;
            facts.push(Fact::Build(built(build.as_ref())));
        }
        Step::Releasing => {
            let outcome = release_command::outcome(tx, deployment).await?;
            facts.push(Fact::Release(outcome));
        }
        Step::Placing | Step::Starting | Step::Verifying => {
            facts.extend(View::load(tx, service, deployment).await?.facts());
        }
        Step::Shifting if deployment.shift_positions.is_some() => facts.push(Fact::Routed),
        Step::Draining => {
            let positions = deployment.shift_positions.clone().unwrap_or_default();
            let followers = route::followers(tx, &positions).await?;
            let routed = deployment.spec.kind == ServiceKind::Web;
            facts.push(Fact::Edges(judge(&followers, routed)));
        }
        _ => {}
    }
    facts.push(Fact::Tick);
    Ok(facts)
}

fn built(build: Option<&deployment::Build>) -> Outcome {
    match build {
        Some(build) if build.finished => match (&build.digest, &build.problem) {
            (Some(_), _) => Outcome::Succeeded,
            (None, Some(problem)) => Outcome::Failed(problem.clone()),
            (None, None) => Outcome::Failed(Failure::new(
                "build_failed",
                "the build ended without an image and without a reason; look at its log",
            )),
        },
        _ => Outcome::Pending,
    }
}

/// What placing, starting and verifying are judged by.
struct View {
    step: Step,
    replicas: BTreeMap<Name, u32>,
    /// Serving ones that were not told to go.
    instances: Vec<Instance>,
    /// As it must run.
    digest: String,
    shortages: Vec<Shortage>,
}

impl View {
    async fn load(
        tx: &mut SystemTx,
        service: &Service,
        deployment: &Deployment,
    ) -> Result<Self, Error> {
        let release = placement::release_of(tx, deployment.id).await?;
        let image = release.map(|release| release.image).unwrap_or_default();
        let shortages = evaluation::shortages(tx, service.id).await?;
        let instances = deployment::instances(tx, deployment.id).await?;
        Ok(Self {
            step: deployment.state.step,
            replicas: placement::replicas(tx, &service.spec).await?,
            instances: instances
                .into_iter()
                .filter(|i| !i.command && !i.going)
                .collect(),
            digest: image.rsplit('@').next().unwrap_or_default().to_owned(),
            shortages: shortages
                .into_iter()
                .filter(|shortage| shortage.deployment_id == deployment.id)
                .collect(),
        })
    }

    fn facts(&self) -> Vec<Fact> {
        let hopeless = self.instances.iter().find_map(hopeless).map(Fact::Hopeless);
        let progress = match self.step {
            Step::Placing => Fact::Placement(self.placed()),
            Step::Starting => Fact::Running(self.all(runs)),
            _ => Fact::Ready(self.all(|instance| self.is_verified(instance))),
        };
        hopeless.into_iter().chain([progress]).collect()
    }

    fn placed(&self) -> Result<(), Failure> {
        for (region, wanted) in &self.replicas {
            let alive = |i: &&Instance| i.region == region.as_str() && i.state <= State::Running;
            let here = self.instances.iter().filter(alive).count();
            if here < *wanted as usize {
                return Err(self.unplaced(region));
            }
        }
        Ok(())
    }

    fn unplaced(&self, region: &Name) -> Failure {
        let shortage = self.shortages.iter().find(|s| s.region == region.as_str());
        match shortage {
            Some(shortage) => Failure::new("no_capacity", &shortage.explanation),
            None => Failure::new(
                "placement_pending",
                format!("the scheduler has not yet placed all instances in {region}"),
            ),
        }
    }

    fn all(&self, test: impl Fn(&Instance) -> bool) -> Result<(), Failure> {
        self.placed()?;
        match self.instances.iter().find(|instance| !test(instance)) {
            None => Ok(()),
            Some(instance) => Err(problem_of(instance)),
        }
    }

    fn is_verified(&self, instance: &Instance) -> bool {
        runs(instance) && instance.ready && instance.digest.as_deref() == Some(&self.digest)
    }
}

fn runs(instance: &Instance) -> bool {
    instance.state == State::Running
}

fn problem_of(instance: &Instance) -> Failure {
    instance.problem.clone().unwrap_or_else(|| {
        Failure::new(
            "instance_not_ready",
            format!(
                "{} on node {} in {} is not ready yet",
                instance.id, instance.node, instance.region
            ),
        )
    })
}

fn hopeless(instance: &Instance) -> Option<Failure> {
    let problem = instance.problem.as_ref();
    let final_problem = problem.filter(|problem| HOPELESS.contains(&problem.code.as_str()));
    if let Some(problem) = final_problem {
        return Some(problem.clone());
    }
    let loops = !instance.ready && instance.restarts >= RESTARTS_MAX;
    loops.then(|| {
        let reason = problem.map_or("it ends again and again", |problem| {
            problem.message.as_str()
        });
        Failure::new(
            problem.map_or("crash_loop", |problem| problem.code.as_str()),
            format!(
                "{} was restarted {} times: {reason}",
                instance.id, instance.restarts
            ),
        )
    })
}

#[cfg(test)]
mod tests {
    use domain::id::InstanceId;

    use super::*;

    fn instance(state: State, ready: bool) -> Instance {
        Instance {
            id: InstanceId::new(),
            region: "eu-west".into(),
            node: "n1".into(),
            command: false,
            going: false,
            state,
            ready,
            restarts: 0,
            digest: Some("sha256:a".into()),
            exit_code: None,
            problem: None,
        }
    }

    fn view(step: Step, instances: Vec<Instance>) -> View {
        View {
            step,
            replicas: BTreeMap::from([("eu-west".parse().unwrap(), 2)]),
            instances,
            digest: "sha256:a".into(),
            shortages: Vec::new(),
        }
    }

    #[test]
    fn every_replica_must_be_there_run_and_be_ready_with_the_wanted_digest() {
        let running = instance(State::Running, false);
        let ready = instance(State::Running, true);
        let one = view(Step::Placing, vec![ready.clone()]);
        assert!(matches!(one.facts()[..], [Fact::Placement(Err(_))]));
        let two = |second: Instance| vec![ready.clone(), second];
        assert_eq!(
            view(Step::Placing, two(running.clone())).facts(),
            [Fact::Placement(Ok(()))]
        );
        assert_eq!(
            view(Step::Starting, two(running.clone())).facts(),
            [Fact::Running(Ok(()))]
        );
        assert!(matches!(
            view(Step::Verifying, two(running)).facts()[..],
            [Fact::Ready(Err(_))]
        ));
        assert_eq!(
            view(Step::Verifying, two(ready.clone())).facts(),
            [Fact::Ready(Ok(()))]
        );
        let mut other = ready.clone();
        other.digest = Some("sha256:old".into());
        assert!(matches!(
            view(Step::Verifying, two(other)).facts()[..],
            [Fact::Ready(Err(_))]
        ));
    }

    #[test]
    fn what_is_short_is_the_reason() {
        let mut view = view(Step::Placing, vec![]);
        view.shortages.push(Shortage {
            deployment_id: domain::id::DeploymentId::new(),
            region: "eu-west".into(),
            missing: 2,
            explanation: "no node in eu-west with 2 GiB free; 3 nodes short by 400 MiB".into(),
        });
        let [Fact::Placement(Err(failure))] = &view.facts()[..] else {
            panic!("placed without instances");
        };
        assert_eq!(failure.code, "no_capacity");
    }

    #[test]
    fn an_instance_that_will_never_run_ends_the_waiting() {
        let mut broken = instance(State::Starting, false);
        broken.problem = Some(Failure::new("wrong_architecture", "arm64 on an amd64 node"));
        assert!(matches!(
            view(Step::Starting, vec![broken]).facts()[0],
            Fact::Hopeless(_)
        ));
        let mut looping = instance(State::Running, false);
        looping.restarts = 3;
        assert!(matches!(
            view(Step::Verifying, vec![looping.clone()]).facts()[0],
            Fact::Hopeless(_)
        ));
        looping.ready = true;
        assert!(!matches!(
            view(Step::Verifying, vec![looping]).facts()[0],
            Fact::Hopeless(_)
        ));
    }
}
