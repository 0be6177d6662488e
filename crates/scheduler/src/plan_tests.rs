use std::{collections::BTreeMap, fmt::Write as _};

use domain::spec::Strategy;
use domain::{
    id::{DeploymentId, InstanceId, NodeId, ReleaseId, ServiceId},
    quantity::{Bytes, MilliCpu},
};
use proptest::{
    prelude::{any, prop, prop_assert, prop_assert_eq, proptest},
    strategy::Strategy as AnyOf,
};

use super::*;
use crate::model::Amount;

fn uuid(kind: u128, n: u32) -> uuid::Uuid {
    uuid::Uuid::from_u128(kind << 64 | u128::from(n))
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn amount(cpu: u32, mebibytes: u64) -> Amount {
    Amount {
        cpu: MilliCpu(cpu),
        memory: Bytes::mebibytes(mebibytes),
    }
}

fn node(n: u32, region: &str, free: Amount) -> Node {
    Node {
        id: NodeId::from(uuid(1, n)),
        region: name(region),
        schedulable: true,
        draining: false,
        liveness: Liveness::Punctual,
        capacity: free,
        reserved: Amount::default(),
        recent_failures: 0,
    }
}

fn goal(n: u32, replicas: &[(&str, u32)], resources: Amount) -> Goal {
    Goal {
        deployment_id: DeploymentId::from(uuid(2, n)),
        release_id: ReleaseId::from(uuid(3, n)),
        replicas: replicas.iter().map(|(r, n)| (name(r), *n)).collect(),
        resources,
        strategy: Strategy::Rolling,
    }
}

fn instance(n: u32, deployment: u32, on: u32, phase: Phase) -> Instance {
    Instance {
        id: InstanceId::from(uuid(4, n)),
        deployment_id: DeploymentId::from(uuid(2, deployment)),
        node_id: NodeId::from(uuid(1, on)),
        phase,
    }
}

fn ask(nodes: &[Node], instances: &[Instance], goals: &[Goal]) -> Plan {
    let evaluation = Evaluation {
        service_id: ServiceId::from(uuid(5, 1)),
        goals: goals.to_vec(),
    };
    let snapshot = Snapshot {
        nodes: nodes.to_vec(),
        instances: instances.to_vec(),
    };
    plan(&snapshot, &evaluation)
}

fn number(id: uuid::Uuid) -> u32 {
    u32::try_from(id.as_u128() & u128::from(u32::MAX)).unwrap()
}

fn shown(plan: &Plan) -> String {
    let mut text = String::new();
    for p in &plan.placements {
        let (d, n) = (number(p.deployment_id.uuid()), number(p.node_id.uuid()));
        writeln!(text, "place deployment {d} on node {n} in {}", p.region).unwrap();
    }
    for s in &plan.stops {
        let i = number(s.instance_id.uuid());
        writeln!(text, "stop instance {i}: {}", s.cause.as_str()).unwrap();
    }
    for e in &plan.exhausted {
        writeln!(
            text,
            "blocked {}x in {}: {}",
            e.missing, e.region, e.explanation
        )
        .unwrap();
    }
    text
}

#[test]
fn two_regions_are_filled_and_replicas_spread() {
    let nodes = [
        node(1, "eu-west", amount(4000, 4096)),
        node(2, "eu-west", amount(4000, 8192)),
        node(3, "us-east", amount(4000, 4096)),
    ];
    let goals = [goal(1, &[("eu-west", 3), ("us-east", 1)], amount(500, 512))];
    insta::assert_snapshot!(shown(&ask(&nodes, &[], &goals)), @r"
    place deployment 1 on node 1 in eu-west
    place deployment 1 on node 2 in eu-west
    place deployment 1 on node 1 in eu-west
    place deployment 1 on node 3 in us-east
    ");
}

#[test]
fn a_new_deployment_comes_beside_the_old_one_and_strangers_go() {
    let nodes = [node(1, "eu-west", amount(4000, 4096))];
    let instances = [
        instance(1, 1, 1, Phase::Ready),
        instance(2, 9, 1, Phase::Ready),
        instance(3, 9, 1, Phase::Leaving),
    ];
    let goals = [
        goal(1, &[("eu-west", 1)], amount(500, 512)),
        goal(2, &[("eu-west", 1)], amount(500, 512)),
    ];
    insta::assert_snapshot!(shown(&ask(&nodes, &instances, &goals)), @r"
    place deployment 2 on node 1 in eu-west
    stop instance 2: deployment
    ");
}

#[test]
fn recreate_waits_until_the_old_ones_are_gone() {
    let nodes = [node(1, "eu-west", amount(4000, 4096))];
    let mut goals = [
        goal(1, &[("eu-west", 1)], amount(500, 512)),
        goal(2, &[("eu-west", 1)], amount(500, 512)),
    ];
    goals
        .iter_mut()
        .for_each(|g| g.strategy = Strategy::Recreate);
    let at = |phase| ask(&nodes, &[instance(1, 1, 1, phase)], &goals);
    insta::assert_snapshot!(shown(&at(Phase::Ready)), @r"
    stop instance 1: deployment
    blocked 1x in eu-west: waits until the instances before it have stopped (strategy recreate)
    ");
    insta::assert_snapshot!(shown(&at(Phase::Leaving)), @"blocked 1x in eu-west: waits until the instances before it have stopped (strategy recreate)");
    insta::assert_snapshot!(shown(&ask(&nodes, &[], &goals)), @"place deployment 2 on node 1 in eu-west");
}

#[test]
fn what_does_not_fit_says_what_is_short() {
    let nodes = [
        node(1, "eu-west", amount(4000, 1648)),
        node(2, "eu-west", amount(4000, 1024)),
        node(3, "eu-west", amount(4000, 512)),
    ];
    let memory = ask(
        &nodes,
        &[],
        &[goal(1, &[("eu-west", 2)], amount(500, 2048))],
    );
    insta::assert_snapshot!(shown(&memory), @"blocked 2x in eu-west: no node in eu-west with 2 GiB free; 3 nodes short by 400 MiB");
    let cpu = ask(
        &nodes[..1],
        &[],
        &[goal(1, &[("eu-west", 1)], amount(4500, 64))],
    );
    insta::assert_snapshot!(shown(&cpu), @"blocked 1x in eu-west: no node in eu-west with 4.5 CPU free; 1 node short by 0.5 CPU");
    let nowhere = ask(&nodes, &[], &[goal(1, &[("ap-south", 1)], amount(1, 1))]);
    insta::assert_snapshot!(shown(&nowhere), @"blocked 1x in ap-south: ap-south has no node: join one with an agent's join token");
}

#[test]
fn closed_nodes_take_nothing_and_say_why() {
    let mut nodes = [
        node(1, "eu-west", amount(4000, 4096)),
        node(2, "eu-west", amount(4000, 4096)),
        node(3, "eu-west", amount(4000, 4096)),
    ];
    nodes[0].liveness = Liveness::Late;
    nodes[1].draining = true;
    nodes[2].schedulable = false;
    let plan = ask(&nodes, &[], &[goal(1, &[("eu-west", 1)], amount(1, 1))]);
    insta::assert_snapshot!(shown(&plan), @"blocked 1x in eu-west: no node in eu-west takes instances: 1 silent, 1 draining, 1 cordoned");
}

#[test]
fn a_late_node_keeps_its_instances_and_a_lost_one_is_replaced_before_they_go() {
    let mut nodes: Vec<Node> = (1..=4)
        .map(|n| node(n, "eu-west", amount(4000, 4096)))
        .collect();
    let goals = [goal(1, &[("eu-west", 1)], amount(500, 512))];
    let mut instances = vec![instance(1, 1, 1, Phase::Ready)];
    nodes[0].liveness = Liveness::Late;
    assert_eq!(ask(&nodes, &instances, &goals), Plan::default());
    nodes[0].liveness = Liveness::Lost;
    insta::assert_snapshot!(shown(&ask(&nodes, &instances, &goals)), @"place deployment 1 on node 2 in eu-west");
    instances.push(instance(2, 1, 2, Phase::Coming));
    assert_eq!(ask(&nodes, &instances, &goals), Plan::default());
    instances[1].phase = Phase::Ready;
    insta::assert_snapshot!(shown(&ask(&nodes, &instances, &goals)), @"stop instance 1: replaced");
    nodes[0].liveness = Liveness::Punctual;
    insta::assert_snapshot!(shown(&ask(&nodes, &instances, &goals)), @"stop instance 2: scale");
}

#[test]
fn when_much_of_a_region_is_silent_nothing_is_replaced() {
    let mut nodes: Vec<Node> = (1..=4)
        .map(|n| node(n, "eu-west", amount(4000, 4096)))
        .collect();
    nodes[0].liveness = Liveness::Lost;
    nodes[1].liveness = Liveness::Lost;
    let goals = [goal(1, &[("eu-west", 2)], amount(500, 512))];
    let instances = [
        instance(1, 1, 1, Phase::Ready),
        instance(2, 1, 2, Phase::Ready),
    ];
    assert_eq!(ask(&nodes, &instances, &goals), Plan::default());
}

#[test]
fn what_may_not_run_twice_stays_on_a_lost_node() {
    let mut nodes: Vec<Node> = (1..=4)
        .map(|n| node(n, "eu-west", amount(4000, 4096)))
        .collect();
    nodes[0].liveness = Liveness::Lost;
    let mut alone = goal(1, &[("eu-west", 1)], amount(500, 512));
    alone.strategy = Strategy::Recreate;
    let instances = [instance(1, 1, 1, Phase::Ready)];
    assert_eq!(ask(&nodes, &instances, &[alone]), Plan::default());
}

#[test]
fn scaling_down_gives_up_the_unready_first_and_a_region_that_is_not_wanted_is_left() {
    let nodes = [
        node(1, "eu-west", amount(4000, 4096)),
        node(2, "us-east", amount(4000, 4096)),
    ];
    let instances = [
        instance(1, 1, 1, Phase::Coming),
        instance(2, 1, 1, Phase::Ready),
        instance(3, 1, 2, Phase::Ready),
    ];
    let goals = [goal(1, &[("eu-west", 1)], amount(500, 512))];
    insta::assert_snapshot!(shown(&ask(&nodes, &instances, &goals)), @r"
    stop instance 1: scale
    stop instance 3: scale
    ");
}

#[test]
fn an_instance_that_ended_by_itself_is_replaced() {
    let nodes = [node(1, "eu-west", amount(4000, 4096))];
    let goals = [goal(1, &[("eu-west", 1)], amount(500, 512))];
    insta::assert_snapshot!(shown(&ask(&nodes, &[instance(1, 1, 1, Phase::Ended)], &goals)), @r"
    place deployment 1 on node 1 in eu-west
    stop instance 1: ended
    ");
}

fn any_node(n: u32) -> impl AnyOf<Value = Node> {
    let liveness = prop::sample::select(vec![
        Liveness::Punctual,
        Liveness::Punctual,
        Liveness::Late,
        Liveness::Lost,
    ]);
    let region = prop::sample::select(vec!["eu-west", "us-east"]);
    (
        liveness,
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
}
