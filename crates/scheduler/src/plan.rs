//! The plan for one service: what is missing is placed, what is surplus goes, and nothing that
//! serves goes before its replacement is ready.

use domain::{instance::Duplication, name::Name, spec::Strategy};

use crate::{
    brake::Sight,
    explain::explain,
    model::{
        Evaluation, Exhausted, Goal, Instance, Liveness, Node, Phase, Placement, Plan, Snapshot,
        Stop, StopCause, duplication,
    },
    place::Board,
};

/// Answers what one service needs.
#[must_use]
pub fn plan(snapshot: &Snapshot, evaluation: &Evaluation) -> Plan {
    let goals = effective_goals(&evaluation.goals);
    let mut plan = Plan {
        stops: unwanted(snapshot, goals),
        ..Plan::default()
    };
    let mut board = Board::new(&snapshot.nodes);
    for instance in snapshot
        .instances
        .iter()
        .filter(|i| i.phase <= Phase::Coming)
    {
        board.count(instance.deployment_id, instance.node_id);
    }
    for goal in goals {
        for region in regions(&board, snapshot, goal) {
            plan_region(&mut plan, &mut board, snapshot, goal, &region);
        }
    }
    plan
}

/// A goal that wants to be alone takes the place of all before it.
fn effective_goals(goals: &[Goal]) -> &[Goal] {
    match goals {
        [.., last] if last.strategy == Strategy::Recreate => std::slice::from_ref(last),
        _ => goals,
    }
}

/// Instances that belong to no goal.
fn unwanted(snapshot: &Snapshot, goals: &[Goal]) -> Vec<Stop> {
    let wanted = |instance: &Instance| {
        goals
            .iter()
            .any(|goal| goal.deployment_id == instance.deployment_id)
    };
    snapshot
        .instances
        .iter()
        .filter(|instance| instance.phase != Phase::Leaving && !wanted(instance))
        .map(|instance| stop(instance, StopCause::Deployment))
        .collect()
}

/// How many more of a goal may run beside what is not known to have ended. What may not run twice waits for
/// all of other deployments, and runs no more often than it is wanted in all regions together.
fn may_come(plan: &Plan, snapshot: &Snapshot, goal: &Goal) -> usize {
    if goal.duplication() == Duplication::Allowed {
        return usize::MAX;
    }
    let instances = snapshot.instances.iter();
    let (own, others): (Vec<_>, Vec<_>) = instances
        .filter(|instance| instance.phase != Phase::Ended)
        .partition(|instance| instance.deployment_id == goal.deployment_id);
    if !others.is_empty() {
        return 0;
    }
    let placed = plan.placements.iter();
    let placed = placed.filter(|placement| placement.deployment_id == goal.deployment_id);
    let wanted: usize = goal.replicas.values().map(|wanted| *wanted as usize).sum();
    wanted.saturating_sub(own.len() + placed.count())
}

/// The goal's regions, and those where instances of it are left over.
fn regions(board: &Board<'_>, snapshot: &Snapshot, goal: &Goal) -> Vec<Name> {
    let mut regions: Vec<Name> = goal.replicas.keys().cloned().collect();
    let left = snapshot
        .instances
        .iter()
        .filter(|instance| instance.deployment_id == goal.deployment_id)
        .filter_map(|instance| board.node(instance.node_id))
        .map(|node| node.region.clone());
    regions.extend(left);
    regions.sort();
    regions.dedup();
    regions
}

fn plan_region(
    plan: &mut Plan,
    board: &mut Board<'_>,
    snapshot: &Snapshot,
    goal: &Goal,
    region: &Name,
) {
    let wanted = goal.replicas.get(region).copied().unwrap_or_default() as usize;
    let members = members(board, snapshot, goal, region);
    let (ended, alive): (Vec<_>, Vec<_>) =
        members.into_iter().partition(|i| i.phase == Phase::Ended);
    plan.stops
        .extend(ended.iter().map(|i| stop(i, StopCause::Ended)));
    let braked = brake(snapshot, region);
    let (going, staying): (Vec<_>, Vec<_>) = alive
        .into_iter()
        .partition(|i| why_go(board, goal, i, braked).is_some());

    let missing = wanted.saturating_sub(staying.len());
    place_missing(plan, board, snapshot, goal, region, missing);
    let surplus = staying.len().saturating_sub(wanted);
    let may_run_twice = goal.duplication() == Duplication::Allowed;
    let serves_on = wanted == 0 && may_run_twice && !is_ready_elsewhere(board, snapshot, goal);
    let may_go = |instance: &Instance| !(serves_on && instance.phase == Phase::Ready);
    plan.stops.extend(
        least_useful(board, goal, &staying)
            .into_iter()
            .filter(|instance| may_go(instance))
            .take(surplus)
            .map(|i| stop(i, StopCause::Scale)),
    );
    let ready = staying.iter().filter(|i| i.phase == Phase::Ready).count();
    if missing == 0 && ready >= wanted {
        let going = going.iter().filter(|instance| may_go(instance));
        plan.stops.extend(going.filter_map(|instance| {
            why_go(board, goal, instance, braked).map(|cause| stop(instance, cause))
        }));
    }
}

/// Whether the regions that a goal wants have what it wants: a service that moves from one region to
/// another serves from where it was until then, if it may run in both.
fn is_ready_elsewhere(board: &Board<'_>, snapshot: &Snapshot, goal: &Goal) -> bool {
    goal.replicas.iter().all(|(region, wanted)| {
        let here = members(board, snapshot, goal, region);
        let ready = here.iter().filter(|i| i.phase == Phase::Ready).count();
        ready >= *wanted as usize
    })
}

fn place_missing(
    plan: &mut Plan,
    board: &mut Board<'_>,
    snapshot: &Snapshot,
    goal: &Goal,
    region: &Name,
    missing: usize,
) {
    let allowed = missing.min(may_come(plan, snapshot, goal));
    let placed = board.place(goal.deployment_id, region, goal.resources, allowed);
    let waits = placed.len() == allowed;
    let still_missing = missing - placed.len();
    plan.placements
        .extend(placed.into_iter().map(|node_id| Placement {
            deployment_id: goal.deployment_id,
            release_id: goal.release_id,
            node_id,
            region: region.clone(),
            resources: goal.resources,
        }));
    if still_missing > 0 {
        plan.exhausted.push(Exhausted {
            deployment_id: goal.deployment_id,
            region: region.clone(),
            missing: u32::try_from(still_missing).unwrap_or(u32::MAX),
            explanation: if waits {
                "waits until the instances before it have stopped (strategy recreate)".to_owned()
            } else {
                explain(board, snapshot, region, goal.resources)
            },
        });
    }
}

/// Instances of the goal in the region that have not been told to go.
fn members<'a>(
    board: &Board<'_>,
    snapshot: &'a Snapshot,
    goal: &Goal,
    region: &Name,
) -> Vec<&'a Instance> {
    snapshot
        .instances
        .iter()
        .filter(|instance| {
            instance.deployment_id == goal.deployment_id
                && instance.phase != Phase::Leaving
                && board
                    .node(instance.node_id)
                    .is_some_and(|node| node.region == *region)
        })
        .collect()
}

fn why_go(board: &Board<'_>, goal: &Goal, instance: &Instance, braked: bool) -> Option<StopCause> {
    must_go(goal.strategy, board.node(instance.node_id)?, braked)
}

/// Whether an instance on this node counts as a replica: nothing about the node asks for another one in its place.
#[must_use]
pub fn stays(snapshot: &Snapshot, strategy: Strategy, node: &Node) -> bool {
    must_go(strategy, node, brake(snapshot, &node.region)).is_none()
}

/// Why an instance needs a replacement; none for what is lost while the brake holds.
fn must_go(strategy: Strategy, node: &Node, braked: bool) -> Option<StopCause> {
    let lost = match node.liveness {
        Liveness::Punctual | Liveness::Late => false,
        Liveness::Lost => !braked,
        Liveness::Gone => true,
    };
    let may_run_twice = duplication(strategy) == Duplication::Allowed;
    if lost && may_run_twice {
        Some(StopCause::Replaced)
    } else if node.draining && may_run_twice {
        Some(StopCause::Drain)
    } else {
        None
    }
}

fn brake(snapshot: &Snapshot, region: &Name) -> bool {
    Sight::of(&snapshot.nodes, region).stops_replacement()
}

/// Those to give up first: not ready, on crowded nodes, youngest.
fn least_useful<'a>(board: &Board<'_>, goal: &Goal, staying: &[&'a Instance]) -> Vec<&'a Instance> {
    let mut order = staying.to_vec();
    order.sort_by_cached_key(|instance| {
        (
            instance.phase,
            board.node(instance.node_id).map(|node| node.liveness),
            board.replicas(goal.deployment_id, instance.node_id),
            instance.id,
        )
    });
    order.reverse();
    order
}

fn stop(instance: &Instance, cause: StopCause) -> Stop {
    Stop {
        instance_id: instance.id,
        cause,
    }
}

#[cfg(test)]
mod tests;
