//! Pass, fail, or a run that proves nothing. Pure: the same history and world give the same verdict.

mod answers;
mod audit;
mod deleted;
mod ends;
mod leftovers;
mod loss;
mod once;
mod requests;
#[cfg(test)]
mod tests;
mod writes;

use std::collections::BTreeMap;

use domain::{
    deployment::machine::Step,
    id::{DeploymentId, ProjectId, ServiceId},
};

pub use self::{
    answers::{Answered, judge as judge_answers},
    deleted::gone,
    ends::Ends,
    loss::{Loss, Wrong, judge as judge_loss},
    once::{Carried, judge as judge_carried},
};
use crate::{history::History, kill, world::World};

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum Violation {
    #[error("deployment {0} was acknowledged and is not there")]
    DeploymentLost(DeploymentId),
    #[error(
        "{service} has {found} deployments that nobody was told of, and only {possible} may have been asked for"
    )]
    DeploymentDoubled {
        service: ServiceId,
        found: usize,
        possible: usize,
    },
    #[error("deployment {0} has not ended: it is {step}", step = .1.as_str())]
    DeploymentUnfinished(DeploymentId, Step),
    #[error("deployment {0} failed and says nothing about why")]
    DeploymentUnexplained(DeploymentId),
    #[error("deployment {id} went {steps:?}: a step came twice or too late")]
    StepRepeated { id: DeploymentId, steps: Vec<Step> },
    #[error("deployment {id} went {steps:?}: a step on the way to live is missing")]
    StepLost { id: DeploymentId, steps: Vec<Step> },
    #[error("deployment {id} has {found} releases")]
    ReleasedOtherwise { id: DeploymentId, found: usize },
    #[error("deployment {id} was given the instances {found:?}, and wanted {wanted:?}")]
    PlacedOtherwise {
        id: DeploymentId,
        found: BTreeMap<String, u32>,
        wanted: BTreeMap<String, u32>,
    },
    #[error("deployment {id} went {steps:?}, and events told of {told:?}")]
    StepToldOtherwise {
        id: DeploymentId,
        steps: Vec<Step>,
        told: Vec<Step>,
    },
    #[error(
        "the audit log tells {told} times of {action} of {resource}, which was acknowledged {acknowledged} times"
    )]
    AuditedOtherwise {
        action: String,
        resource: String,
        told: usize,
        acknowledged: usize,
    },
    #[error("{name} is {found:?} and not {expected:?}, the last value that was acknowledged")]
    VariableLost {
        name: String,
        found: Option<String>,
        expected: String,
    },
    #[error(
        "{service} is to have {found:?} replicas in {region} and not {expected}, as was acknowledged last"
    )]
    ScaleLost {
        service: ServiceId,
        region: String,
        found: Option<u32>,
        expected: u32,
    },
    #[error("project {0} was deleted and is there")]
    DeletionLost(ProjectId),
    #[error("{service} has {found} instances in {region}, and {wanted} replicas are wanted")]
    Replicas {
        service: ServiceId,
        region: String,
        found: usize,
        wanted: u32,
    },
    #[error("instance {0} shall run, and its engine has no running container of it")]
    NoContainer(String),
    #[error("{region} has {count} containers of instance {instance}, which {why}")]
    OrphanContainer {
        region: String,
        instance: String,
        count: usize,
        why: &'static str,
    },
    #[error("{region} has a network of {environment}, in which nothing runs")]
    OrphanNetwork { region: String, environment: String },
    #[error("{region} has {count} networks of {environment}")]
    NetworkDoubled {
        region: String,
        environment: String,
        count: usize,
    },
    #[error("a route in {region} leads to instance {instance}, which {why}")]
    OrphanRoute {
        region: String,
        instance: String,
        why: &'static str,
    },
    #[error("instance {instance} is ready, and no route in {region} leads to it")]
    NoRoute { region: String, instance: String },
    #[error("{feed} has {id}, which is about {service}, and that {why}")]
    OrphanItem {
        feed: String,
        id: String,
        service: ServiceId,
        why: &'static str,
    },
    #[error("{region} has an image of {service}, and {why}")]
    OrphanImage {
        region: String,
        service: ServiceId,
        why: &'static str,
    },
    #[error("the registry has an image or a tag of {0}, whose deletion has ended")]
    OrphanManifest(ServiceId),
    #[error("{count} × somebody else answered for {host}: {from}")]
    ForeignAnswer {
        host: String,
        from: String,
        count: usize,
    },
    #[error(transparent)]
    Loss(Wrong),
    #[error("a node has not followed: {0}")]
    Behind(String),
    #[error("room is lost or given twice: {0}")]
    Misreserved(String),
    #[error("it is there twice: {0}")]
    Doubled(String),
    #[error("{failed} of {ended} deployments failed, and the platform may fail one of a thousand")]
    TooManyFailed { ended: usize, failed: usize },
    #[error(
        "{count} × a request through {edge} failed with no edge down: {reason}, first at {first}"
    )]
    RequestFailed {
        edge: String,
        reason: String,
        count: usize,
        first: String,
    },
}

/// What a run must have done to prove anything.
#[derive(Debug, Clone, Copy, Default)]
pub struct Demands {
    /// Requests of tenants' users.
    pub requests: usize,
    /// Deployments that were acknowledged.
    pub deployments: usize,
    /// Deployments that went live.
    pub live: usize,
    /// Kills after which the process came back.
    pub kills: usize,
    /// Steps in which a kill must have met some deployment.
    pub phases: &'static [Step],
}

/// What became of a run.
pub type Verdict = testkit::verdict::Verdict<Violation>;

/// Judges a run by what was done and what is left. Something wrong is wrong also in a run that did too little.
pub fn judge(history: &History, world: &World, demands: &Demands) -> Verdict {
    let mut violations = wrong_with(history, world);
    violations.extend(requests::failed(history));
    violations.extend(ends::too_many_failed(history, world));
    Verdict::of(violations, too_little(history, world, demands))
}

/// How many requests failed with their edge, as they may.
pub fn excused(history: &History) -> usize {
    requests::excused(history)
}

/// What is wrong with what is left; it may still be on its way to be right.
pub fn wrong_with(history: &History, world: &World) -> Vec<Violation> {
    [
        writes::wrong(history, world),
        audit::wrong(history, world),
        leftovers::wrong(world),
        deleted::wrong(world),
    ]
    .concat()
}

fn too_little(history: &History, world: &World, demands: &Demands) -> Vec<String> {
    let acknowledged =
        |(_, answer): &&(_, crate::history::Answer<_>)| answer.acknowledged().is_some();
    let back = history.kills.iter().filter(|kill| kill.back.is_some());
    let live = world.deployments.iter();
    let counts = [
        ("requests", history.requests.len(), demands.requests),
        (
            "acknowledged deployments",
            history.deployments.iter().filter(acknowledged).count(),
            demands.deployments,
        ),
        (
            "live deployments",
            live.filter(|deployment| deployment.state == Step::Live)
                .count(),
            demands.live,
        ),
        ("kills with a return", back.count(), demands.kills),
    ];
    let counts = counts.into_iter();
    counts
        .filter(|(_, found, wanted)| found < wanted)
        .map(|(what, found, wanted)| format!("{found} {what}, wanted {wanted}"))
        .chain(unmet(history, world, demands))
        .collect()
}

fn unmet(history: &History, world: &World, demands: &Demands) -> impl Iterator<Item = String> {
    let met = kill::phases(&history.kills, &world.deployments);
    let is_met = move |step: &&Step| met.get(step.as_str()).is_some_and(|kills| *kills > 0);
    let unmet = demands.phases.iter().filter(move |step| !is_met(step));
    unmet.map(|step| format!("no kill met a deployment that was {}", step.as_str()))
}
