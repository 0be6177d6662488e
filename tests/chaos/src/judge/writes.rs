//! What was acknowledged is there, once, and has an end.

use std::collections::{BTreeMap, BTreeSet};

use domain::{
    deployment::machine::Step,
    id::{DeploymentId, ServiceId},
};

use super::Violation;
use crate::{
    history::{Answer, History, Replicas, Write},
    world::{Deployment, World},
};

pub(super) fn wrong(history: &History, world: &World) -> Vec<Violation> {
    [
        lost_deployments(history, world),
        doubled_deployments(history, world),
        world.deployments.iter().filter_map(life).collect(),
        lost_variables(history, world),
        lost_scales(history, world),
        lost_deletions(history, world),
    ]
    .concat()
}

fn lost_deployments(history: &History, world: &World) -> Vec<Violation> {
    let there: BTreeSet<_> = world.deployments.iter().map(|one| one.id).collect();
    let acknowledged = history
        .deployments
        .iter()
        .filter_map(|(_, answer)| answer.acknowledged());
    acknowledged
        .filter(|id| !there.contains(id))
        .map(|id| Violation::DeploymentLost(*id))
        .collect()
}

/// One request makes one deployment, however often the client had to send it.
fn doubled_deployments(history: &History, world: &World) -> Vec<Violation> {
    let mut unknown: BTreeMap<ServiceId, usize> = BTreeMap::new();
    let mut known = BTreeSet::new();
    for (service, answer) in &history.deployments {
        let possible = unknown.entry(*service).or_default();
        match answer {
            Answer::Acknowledged(id) => {
                known.insert(*id);
            }
            Answer::Unknown(_) => *possible += 1,
            Answer::Refused(_) => {}
        }
    }
    let untold = |service: ServiceId| {
        let of_service = world
            .deployments
            .iter()
            .filter(move |one| one.service == service);
        of_service.filter(|one| !known.contains(&one.id)).count()
    };
    unknown
        .into_iter()
        .map(|(service, possible)| (service, untold(service), possible))
        .filter(|(_, found, possible)| found > possible)
        .map(|(service, found, possible)| Violation::DeploymentDoubled {
            service,
            found,
            possible,
        })
        .collect()
}

/// What is wrong with one deployment's life, the first thing only.
fn life(deployment: &Deployment) -> Option<Violation> {
    let id = deployment.id;
    let steps: Vec<_> = deployment.steps.iter().map(|(step, _)| *step).collect();
    if !deployment.state.is_final() {
        return Some(Violation::DeploymentUnfinished(id, deployment.state));
    }
    if let Some(wrong) = self::steps(id, &steps, &deployment.told) {
        return Some(wrong);
    }
    let explained = deployment
        .problem
        .as_ref()
        .is_some_and(|(code, message)| !code.is_empty() && !message.is_empty());
    (deployment.state == Step::Failed && !explained).then_some(Violation::DeploymentUnexplained(id))
}

/// Steps only rise, and each is told when it is gone.
pub(super) fn steps(id: DeploymentId, steps: &[Step], told: &[Step]) -> Option<Violation> {
    if !steps.is_sorted_by(|earlier, later| earlier < later) {
        let steps = steps.to_vec();
        return Some(Violation::StepRepeated { id, steps });
    }
    // It is queued when it is made: an event of another kind tells of that.
    let announced = steps.iter().filter(|step| **step != Step::Queued);
    (!announced.eq(told)).then(|| Violation::StepToldOtherwise {
        id,
        steps: steps.to_vec(),
        told: told.to_vec(),
    })
}

fn lost_variables(history: &History, world: &World) -> Vec<Violation> {
    let mut lost = Vec::new();
    for (name, values) in grouped(&history.variables, |(name, value)| (name, value)) {
        let found = world.variables.get(name);
        let is_found = |value: Option<&&String>| value.copied() == found;
        if let Some(expected) = last_if_lost(&values, is_found) {
            lost.push(Violation::VariableLost {
                name: name.clone(),
                found: found.cloned(),
                expected: (*expected).clone(),
            });
        }
    }
    lost
}

fn lost_scales(history: &History, world: &World) -> Vec<Violation> {
    let mut lost = Vec::new();
    let by_place = |(service, region, replicas): &Replicas| ((*service, *region), *replicas);
    for ((service, region), numbers) in grouped(&history.scales, by_place) {
        let found = world.wanted.get(&service).and_then(|all| all.get(region));
        if let Some(expected) = last_if_lost(&numbers, |number| number == found) {
            lost.push(Violation::ScaleLost {
                service,
                region: region.to_owned(),
                found: found.copied(),
                expected: *expected,
            });
        }
    }
    lost
}

fn lost_deletions(history: &History, world: &World) -> Vec<Violation> {
    history
        .deletions
        .iter()
        .filter(|(project, answer)| {
            answer.acknowledged().is_some() && world.projects.contains(project)
        })
        .map(|(project, _)| Violation::DeletionLost(*project))
        .collect()
}

/// The values of each key in the order in which they were written, with the answers.
fn grouped<'a, W, K: Ord, V>(
    writes: &'a [Write<W>],
    split: impl Fn(&'a W) -> (K, V),
) -> BTreeMap<K, Vec<(V, &'a Answer<()>)>> {
    let mut groups: BTreeMap<K, Vec<(V, &Answer<()>)>> = BTreeMap::new();
    for (write, answer) in writes {
        let (key, value) = split(write);
        groups.entry(key).or_default().push((value, answer));
    }
    groups
}

/// One writer wrote these one after another: what is found must be the last that was acknowledged, or
/// one after it that may have happened. The last acknowledged one, when it is not so.
fn last_if_lost<'a, V>(
    writes: &'a [(V, &Answer<()>)],
    is_found: impl Fn(Option<&V>) -> bool,
) -> Option<&'a V> {
    let last = writes
        .iter()
        .rposition(|(_, answer)| answer.acknowledged().is_some())?;
    let possible = writes.get(last..)?;
    let kept = possible
        .iter()
        .any(|(value, answer)| answer.is_possible() && is_found(Some(value)));
    (!kept).then(|| writes.get(last).map(|(value, _)| value))?
}
