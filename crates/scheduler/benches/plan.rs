//! What one evaluation costs where it is large: a service of 10,000 instances on 1,000 empty nodes, and
//! the loss of a node that had 100 of them. Prints JSON.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark is a program for a terminal"
)]

use std::{
    collections::BTreeMap,
    hint::black_box,
    time::{Duration, Instant},
};

use domain::{
    id::{DeploymentId, InstanceId, NodeId, ReleaseId, ServiceId},
    quantity::{Bytes, MilliCpu},
    spec::Strategy,
};
use scheduler::{
    Amount, Evaluation, Goal, Instance, Liveness, Node, Phase, Placement, Plan, Snapshot,
    StopCause, plan,
};
use uuid::Uuid;

const NODES: u32 = 1_000;
const INSTANCES: u32 = 10_000;
/// Of which as many are on the node that is lost.
const ON_LOST: usize = 100;
const ROUNDS: usize = 7;
const REGION: &str = "us-east";

/// The worst of several rounds, and whether each gave the same plan.
fn worst(snapshot: &Snapshot, evaluation: &Evaluation) -> (Duration, bool, Plan) {
    let first = plan(snapshot, evaluation);
    let mut worst = Duration::ZERO;
    let mut same = true;
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        let again = plan(black_box(snapshot), black_box(evaluation));
        worst = worst.max(begun.elapsed());
        same &= again == first;
    }
    (worst, same, first)
}

fn node(n: u32) -> Node {
    Node {
        id: NodeId::from(Uuid::from_u128(1 << 64 | u128::from(n))),
        region: REGION.parse().unwrap(),
        schedulable: true,
        draining: false,
        liveness: Liveness::Punctual,
        capacity: Amount {
            cpu: MilliCpu(64_000),
            memory: Bytes::mebibytes(128 * 1_024),
        },
        reserved: Amount::default(),
        recent_failures: 0,
    }
}

fn goal() -> Goal {
    Goal {
        deployment_id: DeploymentId::from(Uuid::from_u128(2 << 64)),
        release_id: ReleaseId::from(Uuid::from_u128(3 << 64)),
        replicas: BTreeMap::from([(REGION.parse().unwrap(), INSTANCES)]),
        resources: Amount {
            cpu: MilliCpu(250),
            memory: Bytes::mebibytes(512),
        },
        strategy: Strategy::Rolling,
    }
}

fn running((n, placement): (usize, &Placement)) -> Instance {
    Instance {
        id: InstanceId::from(Uuid::from_u128(4 << 64 | n as u128)),
        deployment_id: placement.deployment_id,
        node_id: placement.node_id,
        phase: Phase::Ready,
    }
}

/// The world after `placed`, in which the first node had more of them than the others and was lost.
fn after_loss(empty: &Snapshot, placed: &Plan) -> Snapshot {
    let mut nodes = empty.nodes.clone();
    let mut instances: Vec<_> = placed.placements.iter().enumerate().map(running).collect();
    let lost = nodes.first_mut().unwrap();
    lost.liveness = Liveness::Lost;
    let elsewhere = instances.iter_mut().filter(|i| i.node_id != lost.id);
    let there = placed.placements.iter().filter(|p| p.node_id == lost.id);
    let missing = ON_LOST - there.count();
    // One each from as many nodes: nobody else is empty for it.
    elsewhere.take(missing).for_each(|i| i.node_id = lost.id);
    let each = goal().resources;
    for node in &mut nodes {
        let here = instances.iter().filter(|i| i.node_id == node.id);
        node.reserved = here.fold(Amount::default(), |sum, _| sum.plus(each));
    }
    Snapshot { nodes, instances }
}

fn main() {
    let evaluation = Evaluation {
        service_id: ServiceId::from(Uuid::from_u128(5 << 64)),
        goals: vec![goal()],
    };
    let empty = Snapshot {
        nodes: (0..NODES).map(node).collect(),
        instances: Vec::new(),
    };
    let (placing, placing_same, placed) = worst(&empty, &evaluation);
    assert_eq!(placed.placements.len(), INSTANCES as usize);
    let lossy = after_loss(&empty, &placed);
    let (replacing, replacing_same, replaced) = worst(&lossy, &evaluation);
    assert_eq!(replaced.placements.len(), ON_LOST);
    assert!(
        replaced
            .stops
            .iter()
            .all(|s| s.cause == StopCause::Replaced)
    );

    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
    let other_plans = u8::from(!placing_same) + u8::from(!replacing_same);
    println!(
        "{}",
        serde_json::json!([
            { "name": "evaluation_of_10000_instances_on_1000_nodes", "value": milliseconds(placing), "unit": "ms", "at_most": 1000.0 },
            { "name": "loss_of_a_node_with_100_instances", "value": milliseconds(replacing), "unit": "ms", "at_most": 100.0 },
            { "name": "questions_answered_with_more_than_one_plan", "value": other_plans, "unit": "", "at_most": 0.0 },
        ])
    );
}
