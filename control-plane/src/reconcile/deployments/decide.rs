//! What a deployment does next, as a pure function of what is seen of it. [`super::observe`] loads
//! the view, [`super::apply`] does what the step asks.

use std::collections::BTreeMap;

use domain::{
    deployment::{
        Source,
        acknowledgement::{Follower, judge},
        machine::{Effect, Fact, Failure, Input, Limits, Outcome, State as Stand, Step, step},
    },
    instance::State,
    name::Name,
    quantity::Span,
    spec::ServiceKind,
};

use super::draining::Older;
use crate::store::{
    deployment::{Build, Deployment, Instance},
    evaluation::Shortage,
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

/// Everything that a decision about one deployment needs.
#[derive(Debug)]
pub struct View<'a> {
    pub deployment: &'a Deployment,
    /// The service, its environment or its project is being deleted.
    pub service_deleted: bool,
    pub seen: Seen,
}

/// What is seen of the work of the deployment's step; nothing else is loaded.
#[derive(Debug)]
pub enum Seen {
    /// The step's own row says all.
    Row,
    Build(Option<Build>),
    /// Of making the release and of its command.
    Release(Outcome),
    Instances(Progress),
    Edges(Edges),
    Older(Older),
}

/// What shifting is judged by.
#[derive(Debug)]
pub struct Edges {
    /// Those that follow a changed feed.
    pub followers: Vec<Follower>,
    /// What instances of the release before have to finish what they have begun.
    pub old_draining: Span,
}

/// What placing, starting and verifying are judged by.
#[derive(Debug)]
pub struct Progress {
    pub step: Step,
    pub replicas: BTreeMap<Name, u32>,
    /// Serving ones that were not told to go.
    pub instances: Vec<Instance>,
    /// As it must run.
    pub digest: String,
    pub shortages: Vec<Shortage>,
}

/// The next state and what it asks for, by the first fact that changes anything.
#[must_use]
pub fn decide(view: &View<'_>) -> Option<(Stand, Vec<Effect>)> {
    let state = &view.deployment.state;
    facts(view)
        .into_iter()
        .map(|fact| step(state, &input(view, fact)))
        .find(|(next, effects)| next != state || !effects.is_empty())
}

/// A fact with the time and the limits that it is judged by.
#[must_use]
pub fn input(view: &View<'_>, fact: Fact) -> Input {
    const QUEUE: Span = Span::seconds(900);
    const PULL: Span = Span::seconds(300);
    let spec = &view.deployment.spec;
    Input {
        at: view.deployment.now,
        limits: Limits {
            build: spec.build.timeout.plus(QUEUE),
            release: crate::feed::instance::COMMAND_TIMEOUT.plus(PULL),
            progress: spec.deploy.progress_deadline,
            draining: match &view.seen {
                Seen::Edges(edges) => edges.old_draining,
                _ => Span::seconds(0),
            },
        },
        fact,
    }
}

/// Facts in the order of their weight; the last one is that time passes.
fn facts(view: &View<'_>) -> Vec<Fact> {
    let deployment = view.deployment;
    let mut facts = Vec::new();
    // Once it shifts nobody stops it; a newer one only spares it the waiting for old instances.
    let can_end = deployment.state.step < Step::Shifting;
    if can_end && (deployment.cancel_requested || view.service_deleted) {
        facts.push(Fact::Cancel);
    }
    if deployment.newer_waits && deployment.state.step != Step::Shifting {
        facts.push(Fact::Newer);
    }
    match &view.seen {
        Seen::Row => facts.extend(turn(deployment)),
        Seen::Build(build) => facts.push(Fact::Build(built(build.as_ref()))),
        Seen::Release(outcome) => facts.push(Fact::Release(outcome.clone())),
        Seen::Instances(progress) => facts.extend(progress.facts()),
        Seen::Edges(edges) => {
            let routed = deployment.spec.kind == ServiceKind::Web;
            facts.push(Fact::Edges(judge(&edges.followers, routed)));
        }
        Seen::Older(older) => facts.push(Fact::Drained(older.ended())),
    }
    facts.push(Fact::Tick);
    facts
}

fn turn(deployment: &Deployment) -> Option<Fact> {
    let has_turn = deployment.state.step == Step::Queued && !deployment.older_at_work;
    has_turn.then_some(Fact::Turn {
        build: matches!(
            deployment.source,
            Source::Git { .. } | Source::Archive { .. } | Source::Image { .. }
        ),
    })
}

fn built(build: Option<&Build>) -> Outcome {
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

impl Progress {
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

    fn view(step: Step, instances: Vec<Instance>) -> Progress {
        Progress {
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
