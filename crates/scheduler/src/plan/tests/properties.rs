//! What holds in any world.

use std::collections::BTreeMap;

use proptest::{
    prelude::{any, prop, prop_assert, prop_assert_eq, proptest},
    strategy::Strategy as AnyOf,
};

use super::*;

fn any_liveness() -> impl AnyOf<Value = Liveness> {
    prop::sample::select(vec![
        Liveness::Punctual,
        Liveness::Punctual,
        Liveness::Late,
        Liveness::Lost,
        Liveness::Gone,
    ])
}

fn any_node(n: u32) -> impl AnyOf<Value = Node> {
    let region = prop::sample::select(vec!["eu-west", "us-east"]);
    (
        any_liveness(),
        region,
        any::<[bool; 4]>(),
        0_u32..4000,
        0_u64..4096,
        0_u32..3,
    )
        .prop_map(
            move |(liveness, region, flags, cpu, memory, recent_failures)| Node {
                schedulable: flags[0] || flags[1],
                draining: flags[2] && flags[3],
                liveness,
                recent_failures,
                ..node(n, region, amount(cpu, memory))
            },
        )
}

fn any_world() -> impl AnyOf<Value = (Vec<Node>, Vec<Instance>, Vec<Goal>)> {
    let nodes = (
        any_node(1),
        any_node(2),
        any_node(3),
        any_node(4),
        any_node(5),
    );
    let phase = prop::sample::select(vec![
        Phase::Ready,
        Phase::Coming,
        Phase::Leaving,
        Phase::Ended,
    ]);
    let instances = prop::collection::vec((1_u32..4, 1_u32..6, phase), 0..8);
    let wish = (
        0_u32..4,
        0_u32..4,
        50_u32..1000,
        16_u64..1024,
        prop::bool::weighted(0.2),
    );
    (nodes, instances, prop::collection::vec(wish, 0..3)).prop_map(|(nodes, instances, goals)| {
        let nodes = vec![nodes.0, nodes.1, nodes.2, nodes.3, nodes.4];
        let instances = (1..)
            .zip(instances)
            .map(|(n, (d, on, phase))| instance(n, d, on, phase))
            .collect();
        let goals = (1..)
            .zip(goals)
            .map(|(n, (eu, us, cpu, memory, alone))| Goal {
                strategy: if alone {
                    Strategy::Recreate
                } else {
                    Strategy::Rolling
                },
                ..goal(n, &[("eu-west", eu), ("us-east", us)], amount(cpu, memory))
            })
            .collect();
        (nodes, instances, goals)
    })
}

/// What the world looks like once the plan is executed and everything has come up or gone.
fn applied(nodes: &[Node], instances: &[Instance], plan: &Plan) -> (Vec<Node>, Vec<Instance>) {
    let mut nodes = nodes.to_vec();
    let stopped: Vec<_> = plan.stops.iter().map(|stop| stop.instance_id).collect();
    let mut instances: Vec<Instance> = instances
        .iter()
        .filter(|i| !stopped.contains(&i.id) && i.phase != Phase::Leaving)
        .cloned()
        .collect();
    for (n, placement) in (100..).zip(&plan.placements) {
        let node = nodes
            .iter_mut()
            .find(|node| node.id == placement.node_id)
            .unwrap();
        node.reserved = node.reserved.plus(placement.resources);
        instances.push(Instance {
            id: InstanceId::from(uuid(4, n)),
            deployment_id: placement.deployment_id,
            node_id: placement.node_id,
            phase: Phase::Ready,
        });
    }
    (nodes, instances)
}

proptest! {
    #[test]
    fn no_node_is_ever_over_capacity_and_only_open_ones_are_used((nodes, instances, goals) in any_world()) {
        let plan = ask(&nodes, &instances, &goals);
        let (after, _) = applied(&nodes, &instances, &plan);
        for node in &after {
            prop_assert!(node.capacity.holds(node.reserved));
        }
        for placement in &plan.placements {
            let node = nodes.iter().find(|node| node.id == placement.node_id).unwrap();
            prop_assert!(node.schedulable && !node.draining && node.liveness == Liveness::Punctual);
            prop_assert_eq!(&node.region, &placement.region);
        }
    }

    #[test]
    fn the_same_world_in_another_order_gives_the_same_plan((nodes, instances, goals) in any_world()) {
        let first = ask(&nodes, &instances, &goals);
        prop_assert_eq!(&first, &ask(&nodes, &instances, &goals));
        let reversed: Vec<Node> = nodes.iter().rev().cloned().collect();
        prop_assert_eq!(first.placements, ask(&reversed, &instances, &goals).placements);
    }

    #[test]
    fn a_region_with_room_takes_every_replica(free in prop::collection::vec((0_u32..4000, 0_u64..4096), 1..6), wanted in 1_u32..12) {
        let nodes: Vec<Node> = (1..).zip(&free).map(|(n, (cpu, memory))| node(n, "eu-west", amount(*cpu, *memory))).collect();
        let needed = amount(500, 300);
        let room: u32 = free.iter().map(|(cpu, memory)| (cpu / 500).min(u32::try_from(memory / 300).unwrap())).sum();
        let plan = ask(&nodes, &[], &[goal(1, &[("eu-west", wanted)], needed)]);
        prop_assert_eq!(u32::try_from(plan.placements.len()).unwrap(), wanted.min(room));
        prop_assert_eq!(plan.exhausted.is_empty(), room >= wanted);
    }

    #[test]
    fn once_executed_there_is_nothing_left_to_do((nodes, instances, goals) in any_world()) {
        let (mut nodes, mut instances) = (nodes, instances);
        // A replacement is placed in one plan, and what it replaces goes in the next.
        for _ in 0..4 {
            let plan = ask(&nodes, &instances, &goals);
            let (n, i) = applied(&nodes, &instances, &plan);
            (nodes, instances) = (n, i);
        }
        let last = ask(&nodes, &instances, &goals);
        prop_assert_eq!((last.placements, last.stops), (vec![], vec![]));
    }

    #[test]
    fn nothing_that_is_ready_and_wanted_goes_without_enough_others((nodes, instances, goals) in any_world()) {
        let rolling: Vec<Goal> = goals.into_iter().filter(|goal| goal.strategy == Strategy::Rolling).collect();
        let plan = ask(&nodes, &instances, &rolling);
        let mut ready: BTreeMap<(DeploymentId, Name), (u32, u32)> = BTreeMap::new();
        for i in instances.iter().filter(|i| i.phase == Phase::Ready) {
            let region = nodes.iter().find(|node| node.id == i.node_id).unwrap().region.clone();
            let counts = ready.entry((i.deployment_id, region)).or_default();
            counts.0 += 1;
            counts.1 += u32::from(!plan.stops.iter().any(|stop| stop.instance_id == i.id));
        }
        for goal in &rolling {
            for (region, wanted) in &goal.replicas {
                let (before, after) = ready.get(&(goal.deployment_id, region.clone())).copied().unwrap_or_default();
                prop_assert!(after >= before.min(*wanted));
            }
        }
    }

    // One instance on each node of a region; whoever is heard has room for all.
    #[test]
    fn what_a_lost_node_ran_is_replaced_unless_too_many_of_its_region_are_silent(liveness in prop::collection::vec(any_liveness(), 1..14)) {
        let nodes: Vec<Node> = (1..).zip(&liveness).map(|(n, liveness)| Node { liveness: *liveness, ..node(n, "eu-west", amount(9000, 9000)) }).collect();
        let instances: Vec<Instance> = nodes.iter().map(|node| { let n = number(node.id.uuid()); instance(n, 1, n, Phase::Ready) }).collect();
        let is = |wanted: &[Liveness]| liveness.iter().filter(|one| wanted.contains(one)).count();
        let (silent, gone) = (is(&[Liveness::Late, Liveness::Lost]), is(&[Liveness::Gone]));
        let braked = silent >= 2 && 10 * silent > 3 * (liveness.len() - gone);
        let given_up = if braked { vec![Liveness::Gone] } else { vec![Liveness::Lost, Liveness::Gone] };

        let goals = [goal(1, &[("eu-west", u32::try_from(nodes.len()).unwrap())], amount(500, 500))];
        let plan = ask(&nodes, &instances, &goals);
        let missing: u32 = plan.exhausted.iter().map(|exhausted| exhausted.missing).sum();
        prop_assert_eq!(plan.placements.len() + missing as usize, is(&given_up));
        prop_assert_eq!(&plan.stops[..], &[]);

        let (nodes_after, instances_after) = applied(&nodes, &instances, &plan);
        let stops = ask(&nodes_after, &instances_after, &goals).stops;
        let lost = nodes.iter().zip(&instances).filter(|(node, _)| missing == 0 && given_up.contains(&node.liveness));
        let lost: Vec<Stop> = lost.map(|(_, instance)| stop(instance, StopCause::Replaced)).collect();
        prop_assert_eq!(stops, if plan.placements.is_empty() { vec![] } else { lost });
    }

    #[test]
    fn what_may_not_run_twice_is_placed_only_for_what_is_known_to_be_gone((nodes, instances, goals) in any_world(), one_deployment in any::<bool>()) {
        let (mut nodes, mut instances, mut goals) = (nodes, instances, goals);
        let Some(newest) = goals.last_mut() else { return Ok(()) };
        newest.strategy = Strategy::Recreate;
        if one_deployment {
            instances.iter_mut().for_each(|instance| instance.deployment_id = newest.deployment_id);
        }
        let newest = newest.clone();
        let wanted: u32 = newest.replicas.values().sum();
        // Round by round what is told to go is gone, and what is placed has come.
        for _ in 0..4 {
            let plan = ask(&nodes, &instances, &goals);
            prop_assert!(plan.placements.iter().all(|placement| placement.deployment_id == newest.deployment_id));
            let running = instances.iter().filter(|instance| instance.phase != Phase::Ended);
            let (own, others): (Vec<_>, Vec<_>) = running.partition(|instance| instance.deployment_id == newest.deployment_id);
            if !plan.placements.is_empty() {
                prop_assert_eq!(others, Vec::<&Instance>::new());
                prop_assert!(own.len() + plan.placements.len() <= wanted as usize);
            }
            (nodes, instances) = applied(&nodes, &instances, &plan);
        }
        // It does not wait for ever.
        for blocked in ask(&nodes, &instances, &goals).exhausted {
            prop_assert!(!blocked.explanation.starts_with("waits"));
        }
    }

    // Before anything else counts: a node that fails or is fuller gets the first replica rather than another the second.
    #[test]
    fn a_node_gets_one_more_replica_only_if_no_open_one_with_room_has_fewer((nodes, instances, goals) in any_world()) {
        let plan = ask(&nodes, &instances, &goals);
        let (after, _) = applied(&nodes, &instances, &plan);
        let replicas = |deployment: DeploymentId, node: NodeId| {
            let there = instances.iter().filter(|i| i.phase <= Phase::Coming && i.deployment_id == deployment && i.node_id == node);
            let placed = plan.placements.iter().filter(|p| p.deployment_id == deployment && p.node_id == node);
            there.count() + placed.count()
        };
        for placement in &plan.placements {
            let is_open = |node: &&Node| node.region == placement.region && node.schedulable && !node.draining && node.liveness == Liveness::Punctual;
            let has_room = |node: &&Node| node.capacity.minus(node.reserved).holds(placement.resources);
            for other in after.iter().filter(is_open).filter(has_room) {
                let (here, there) = (replicas(placement.deployment_id, placement.node_id), replicas(placement.deployment_id, other.id));
                prop_assert!(here <= there + 1, "{} on {}, {} on {}", here, placement.node_id, there, other.id);
            }
        }
    }
}
