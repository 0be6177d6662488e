//! Each promise has a history that breaks it, and the judge must say so.

use std::{collections::BTreeMap, time::Duration};

use chrono::{DateTime, Utc};
use e2e::load::{Kind, Outcome, Record};

use super::*;
use crate::{
    history::{Answer, Kill},
    world::{Container, Deployment, Instance, Presence},
};

const NOTHING: Demands = Demands {
    requests: 0,
    deployments: 0,
    live: 0,
    kills: 0,
    phases: &[],
};

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000 + seconds, 0).unwrap()
}

/// A service with one replica, put in place by one deployment, as it should be.
pub(super) fn sound() -> (History, World) {
    let (service, deployment) = (ServiceId::new(), DeploymentId::new());
    let history = History {
        deployments: vec![(service, Answer::Acknowledged(deployment))],
        ..History::default()
    };
    let steps = [Step::Queued, Step::Placing, Step::Starting, Step::Live];
    let instance = Instance {
        service,
        environment: "env_1".to_owned(),
        region: "us-east".to_owned(),
        wanted: true,
        stopped: false,
        serves: true,
        ready: true,
    };
    let mut world = World {
        deployments: vec![Deployment {
            id: deployment,
            service,
            state: Step::Live,
            steps: steps.into_iter().zip((0..).map(at)).collect(),
            told: steps.iter().skip(1).copied().collect(),
            reason: "deploy".to_owned(),
            problem: None,
        }],
        wanted: [(service, [("us-east".to_owned(), 1)].into())].into(),
        instances: [("ins_1".to_owned(), instance)].into(),
        containers: vec![container("ins_1")],
        networks: [(("us-east".to_owned(), "env_1".to_owned()), 1)].into(),
        endpoints: [("us-east".to_owned(), "ins_1".to_owned())].into(),
        services: [(service, Presence::Whole)].into(),
        images: [("us-east".to_owned(), service)].into(),
        kept: [("us-east".to_owned(), Some([service].into()))].into(),
        manifests: [service].into(),
        environment: "env_1".to_owned(),
        ..World::default()
    };
    told_once(&mut world, "deployment.create", &deployment.to_string());
    told_once(&mut world, "service.create", &service.to_string());
    world.made = world.audited.keys().cloned().collect();
    (history, world)
}

pub(super) fn told_once(world: &mut World, action: &str, resource: &str) {
    let done = (action.to_owned(), resource.to_owned());
    world.audited.insert(done, 1);
}

fn container(instance: &str) -> Container {
    Container {
        region: "us-east".to_owned(),
        instance: instance.to_owned(),
        state: "running".to_owned(),
    }
}

fn violations(history: &History, world: &World) -> Vec<Violation> {
    match judge(history, world, &NOTHING) {
        Verdict::Fail(violations) => violations,
        other => panic!("{other}"),
    }
}

/// What the judge says when a sound run is spoilt.
pub(super) fn spoilt(spoil: impl FnOnce(&mut History, &mut World)) -> Vec<Violation> {
    let (mut history, mut world) = sound();
    spoil(&mut history, &mut world);
    violations(&history, &world)
}

#[test]
fn a_sound_run_passes_and_one_that_did_too_little_is_invalid() {
    let (history, world) = sound();
    assert_eq!(judge(&history, &world, &NOTHING), Verdict::Pass);
    let demands = Demands {
        requests: 1_000,
        kills: 1,
        ..NOTHING
    };
    let Verdict::Invalid(reasons) = judge(&history, &world, &demands) else {
        panic!("not invalid");
    };
    assert_eq!(reasons.len(), 2, "{reasons:?}");
}

#[test]
fn a_run_whose_kills_met_no_deployment_in_a_step_that_counts_is_invalid() {
    let (mut history, world) = sound();
    let demands = Demands {
        phases: &[Step::Placing, Step::Starting],
        ..NOTHING
    };
    let kill = |seconds| Kill {
        process: "redis".to_owned(),
        at: at(seconds),
        back: None,
        edge: None,
    };
    history.kills = vec![kill(1)];
    let unmet = vec!["no kill met a deployment that was starting".to_owned()];
    assert_eq!(judge(&history, &world, &demands), Verdict::Invalid(unmet));
    history.kills.push(kill(2));
    assert_eq!(judge(&history, &world, &demands), Verdict::Pass);
}

#[test]
fn what_is_wrong_is_wrong_in_a_run_that_did_too_little_too() {
    let (history, _) = sound();
    let demands = Demands {
        kills: 100,
        ..NOTHING
    };
    let verdict = judge(&history, &World::default(), &demands);
    assert!(matches!(verdict, Verdict::Fail(_)), "{verdict}");
}

#[test]
fn an_acknowledged_deployment_that_is_missing_is_lost() {
    let lost = spoilt(|_, world| world.deployments.clear());
    assert!(
        matches!(lost.as_slice(), [Violation::DeploymentLost(_)]),
        "{lost:?}"
    );
}

#[test]
fn a_deployment_more_than_was_asked_for_is_a_double() {
    let double = |history: &mut History, world: &mut World| {
        let mut second = world.deployments[0].clone();
        second.id = DeploymentId::new();
        world.deployments.push(second);
        history
            .deployments
            .push((ServiceId::new(), Answer::Unknown(String::new())));
    };
    let doubled = spoilt(double);
    assert!(
        matches!(
            doubled.as_slice(),
            [Violation::DeploymentDoubled {
                found: 1,
                possible: 0,
                ..
            }]
        ),
        "{doubled:?}"
    );
    // Unless the answer to a second request was lost.
    let (mut history, mut world) = sound();
    double(&mut history, &mut world);
    history.deployments[1].0 = world.deployments[0].service;
    assert_eq!(judge(&history, &world, &NOTHING), Verdict::Pass);
}

#[test]
fn a_deployment_ends_for_a_stated_reason() {
    let unfinished = spoilt(|_, world| world.deployments[0].state = Step::Starting);
    assert!(matches!(
        unfinished.as_slice(),
        [Violation::DeploymentUnfinished(_, Step::Starting)]
    ));
    let fail = |world: &mut World, problem: Option<(&str, &str)>| {
        let deployment = &mut world.deployments[0];
        deployment.state = Step::Failed;
        deployment.steps.last_mut().unwrap().0 = Step::Failed;
        *deployment.told.last_mut().unwrap() = Step::Failed;
        deployment.problem = problem.map(|(code, text)| (code.to_owned(), text.to_owned()));
    };
    let silent = spoilt(|_, world| fail(world, None));
    assert!(matches!(
        silent.as_slice(),
        [Violation::DeploymentUnexplained(_)]
    ));
    let (history, mut world) = sound();
    fail(&mut world, Some(("build_failed", "the engine was away")));
    assert_eq!(judge(&history, &world, &NOTHING), Verdict::Pass);
}

#[test]
fn one_of_a_thousand_deployments_may_fail_and_no_second_one() {
    let (history, mut world) = sound();
    let end = |failed: usize| {
        let ends = (0..1_000).map(|n| if n < failed { Step::Failed } else { Step::Live });
        ends.map(|state| Deployment {
            state,
            ..world.deployments[0].clone()
        })
        .collect()
    };
    let (one, two): (Vec<_>, Vec<_>) = (end(1), end(2));
    world.deployments = one;
    assert_eq!(ends::too_many_failed(&history, &world), None);
    world.deployments = two;
    assert_eq!(Ends::of(&history, &world).failed, 2);
    assert!(ends::too_many_failed(&history, &world).is_some());
    world.deployments.pop();
    assert_eq!(ends::too_many_failed(&history, &world), None);
}

#[test]
fn a_step_happens_once_and_is_told_once() {
    let again = spoilt(|_, world| {
        let step = world.deployments[0].steps[1];
        world.deployments[0].steps.insert(2, step);
    });
    assert!(
        matches!(again.as_slice(), [Violation::StepRepeated { .. }]),
        "{again:?}"
    );
    let twice = spoilt(|_, world| {
        let step = world.deployments[0].told[0];
        world.deployments[0].told.insert(0, step);
    });
    assert!(
        matches!(twice.as_slice(), [Violation::StepToldOtherwise { .. }]),
        "{twice:?}"
    );
}

#[test]
fn the_last_acknowledged_value_is_kept_or_a_later_one_that_may_have_been_written() {
    let write = |value: &str, answer| (("NAME".to_owned(), value.to_owned()), answer);
    let (mut history, mut world) = sound();
    history.variables = vec![
        write("1", Answer::Acknowledged(())),
        write("2", Answer::Acknowledged(())),
        write("3", Answer::Unknown(String::new())),
        write("4", Answer::Refused(String::new())),
    ];
    let set = ("shared_variable.set".to_owned(), world.environment.clone());
    world.audited.insert(set, 2);
    for (value, sound) in [("1", false), ("2", true), ("3", true), ("4", false)] {
        world.variables = BTreeMap::from([("NAME".to_owned(), value.to_owned())]);
        let verdict = judge(&history, &world, &NOTHING);
        assert_eq!(verdict.is_pass(), sound, "{value}: {verdict}");
    }
    world.variables.clear();
    assert!(!judge(&history, &world, &NOTHING).is_pass());
}

#[test]
fn acknowledged_scales_and_deletions_are_kept() {
    let scaled = spoilt(|history, world| {
        let service = world.deployments[0].service;
        told_once(world, "service.scale", &service.to_string());
        history
            .scales
            .push(((service, "us-east", 2), Answer::Acknowledged(())));
    });
    assert!(
        matches!(
            scaled.as_slice(),
            [Violation::ScaleLost { expected: 2, .. }]
        ),
        "{scaled:?}"
    );
    let deleted = spoilt(|history, world| {
        let project = ProjectId::new();
        told_once(world, "project.delete", &project.to_string());
        history.deletions.push((project, Answer::Acknowledged(())));
        world.projects.insert(project);
    });
    assert!(matches!(deleted.as_slice(), [Violation::DeletionLost(_)]));
}

#[test]
fn no_replica_too_many_and_none_too_few() {
    let second = spoilt(|_, world| {
        let instance = world.instances["ins_1"].clone();
        world.instances.insert("ins_2".to_owned(), instance);
        world.containers.push(container("ins_2"));
        world
            .endpoints
            .insert(("us-east".to_owned(), "ins_2".to_owned()));
    });
    assert!(
        matches!(
            second.as_slice(),
            [Violation::Replicas {
                found: 2,
                wanted: 1,
                ..
            }]
        ),
        "{second:?}"
    );
    let none = spoilt(|_, world| {
        world.instances.clear();
        world.containers.clear();
        world.networks.clear();
        world.endpoints.clear();
    });
    assert!(matches!(
        none.as_slice(),
        [Violation::Replicas {
            found: 0,
            wanted: 1,
            ..
        }]
    ));
}

#[test]
fn rows_and_containers_agree() {
    let gone = spoilt(|_, world| world.containers.clear());
    assert_eq!(gone, [Violation::NoContainer("ins_1".to_owned())]);
    let exited = spoilt(|_, world| world.containers[0].state = "exited".to_owned());
    assert_eq!(exited, [Violation::NoContainer("ins_1".to_owned())]);
    let orphan = spoilt(|_, world| world.containers.push(container("ins_9")));
    assert!(matches!(
        orphan.as_slice(),
        [Violation::OrphanContainer { why: NO_ROW, .. }]
    ));
    let twice = spoilt(|_, world| world.containers.push(container("ins_1")));
    assert!(matches!(
        twice.as_slice(),
        [Violation::OrphanContainer { count: 2, .. }]
    ));
}

const NO_ROW: &str = "has no row";

#[test]
fn only_a_killed_edge_excuses_a_failed_request() {
    let edge = "10.96.1.2:443".parse().unwrap();
    let request = |begun: i64| Record {
        kind: Kind::Get1,
        edge,
        begun: at(begun),
        took: Duration::from_secs(2),
        outcome: Outcome::Failed("reset".to_owned()),
    };
    let killed = |process: &str, edge| Kill {
        process: process.to_owned(),
        at: at(10),
        back: Some(at(12)),
        edge,
    };
    let (mut history, world) = sound();
    history.kills = vec![killed("us-east-edge", Some(edge)), killed("postgres", None)];
    for (begun, excused) in [(7, false), (9, true), (11, true), (13, false)] {
        history.requests = vec![request(begun)];
        assert_eq!(
            judge(&history, &world, &NOTHING).is_pass(),
            excused,
            "begun at {begun}"
        );
    }
    history.requests = vec![Record {
        edge: "10.96.2.2:443".parse().unwrap(),
        ..request(11)
    }];
    assert!(!judge(&history, &world, &NOTHING).is_pass());
}
