//! Scenarios with the plan that they must give.

use std::fmt::Write as _;

use super::*;

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
        writeln!(text, "{}", blocked(e)).unwrap();
    }
    text
}

#[test]
fn a_service_that_moves_to_another_region_serves_until_it_is_ready_there() {
    let room = amount(1000, 1024);
    let nodes = [node(1, "eu-west", room), node(2, "us-east", room)];
    let moved = [goal(1, &[("us-east", 1)], amount(250, 256))];
    let before = [instance(1, 1, 1, Phase::Ready)];
    let plan = ask(&nodes, &before, &moved);
    assert_eq!((plan.placements.len(), plan.stops.len()), (1, 0));
    let coming = [before[0].clone(), instance(2, 1, 2, Phase::Coming)];
    assert_eq!(ask(&nodes, &coming, &moved).stops, []);
    let ready = [before[0].clone(), instance(2, 1, 2, Phase::Ready)];
    let plan = ask(&nodes, &ready, &moved);
    assert_eq!(plan.stops, [stop(&before[0], StopCause::Scale)]);
    // Asked to run nowhere, it does not wait for anything.
    let nowhere = [goal(1, &[("eu-west", 0)], amount(250, 256))];
    assert_eq!(ask(&nodes, &before, &nowhere).stops.len(), 1);
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
fn room_that_old_instances_still_hold_is_the_reason_too() {
    let nodes = [
        node(1, "eu-west", amount(4000, 600)),
        node(2, "us-east", amount(4000, 100)),
    ];
    let instances = [
        instance(1, 1, 1, Phase::Leaving),
        instance(2, 1, 2, Phase::Leaving),
        instance(3, 1, 2, Phase::Leaving),
    ];
    let goals = [goal(
        2,
        &[("eu-west", 1), ("us-east", 1)],
        amount(500, 1024),
    )];
    insta::assert_snapshot!(shown(&ask(&nodes, &instances, &goals)), @r"
    blocked 1x in eu-west: no node in eu-west with 1 GiB free; 1 node short by 424 MiB; waits for 1 old instance of this service to end there
    blocked 1x in us-east: no node in us-east with 1 GiB free; 1 node short by 924 MiB; waits for 2 old instances of this service to end there
    ");
}

#[test]
fn closed_nodes_take_nothing_and_say_why() {
    let mut nodes = [
        node(1, "eu-west", amount(4000, 4096)),
        node(2, "eu-west", amount(4000, 4096)),
        node(3, "eu-west", amount(4000, 4096)),
    ];
    nodes[0].liveness = Liveness::Late;
    nodes[0].schedulable = false;
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

    // Somebody knows of the second: it is no sign that we can't see, and what it ran is not there any more.
    nodes[1].liveness = Liveness::Gone;
    insta::assert_snapshot!(shown(&ask(&nodes, &instances, &goals)), @r"
    place deployment 1 on node 3 in eu-west
    place deployment 1 on node 4 in eu-west
    ");
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
