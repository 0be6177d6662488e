//! The promises of the reconciler: first of [`decide`] alone against a model of an engine, with time
//! that the test turns; then of the shell with a fake engine.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use chrono::{TimeDelta, Utc};
use domain::{
    id::{DeploymentId, EnvironmentId, InstanceId, OrganizationId, ReleaseId, ServiceId},
    instance::{Desired as Wish, State},
    quantity::Span,
    spec::{Confinement, Probe, Resources, StopSignal},
};
use proptest::prelude::*;
use protocol::{
    item::{InstanceItem, RunMode},
    report::Problem,
};

use super::*;
use crate::{
    health::Verdict,
    restart,
    runtime::{Container, Labels},
};

mod model;
mod shell;

use model::{Model, Step, Wanted};

pub(super) fn item(run: RunMode) -> InstanceItem {
    InstanceItem {
        id: InstanceId::new(),
        desired: Wish::Run,
        organization_id: OrganizationId::new(),
        environment_id: EnvironmentId::new(),
        service_id: ServiceId::new(),
        service_name: "web".parse().unwrap(),
        release_id: ReleaseId::new(),
        deployment_id: DeploymentId::new(),
        image: "registry.test/org/svc@sha256:00".to_owned(),
        command: None,
        environment: BTreeMap::new(),
        port: Some(8080),
        resources: Resources::default(),
        confinement: Confinement::Restricted,
        run,
        stop_signal: StopSignal::Sigterm,
        draining: Span::seconds(30),
        traceparent: None,
    }
}

pub(super) fn service() -> RunMode {
    let probe = Probe {
        path: None,
        interval: Span::seconds(2),
        timeout: Span::seconds(1),
        failures: 3,
    };
    RunMode::Service {
        startup: Some(probe.clone()),
        readiness: Some(probe.clone()),
        liveness: Some(probe),
    }
}

fn once() -> RunMode {
    RunMode::Once {
        timeout: Span::seconds(60),
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0_u32..1000).prop_map(Step::Wait),
        3 => prop_oneof![Just(0), Just(1), Just(137)].prop_map(Step::Exit),
        1 => prop_oneof![Just(0), Just(255)].prop_map(Step::ExitUnseen),
        1 => prop_oneof![Just(Wanted::Run), Just(Wanted::Run), Just(Wanted::Unknown), Just(Wanted::Stop)].prop_map(Step::Want),
        1 => Just(Step::Lost),
        1 => Just(Step::AgentRestarts),
        2 => any::<bool>().prop_map(Step::Probe),
        1 => Just(Step::StartupFails),
        1 => any::<bool>().prop_map(Step::EngineRefuses),
    ];
    proptest::collection::vec(step, 0..40)
}

proptest! {
    #[test]
    fn a_service_settles_on_what_is_wanted(steps in steps(), stubborn: bool, cuts_off: bool, wanted in prop_oneof![Just(Wanted::Run), Just(Wanted::Stop)]) {
        let mut model = Model::with(service(), stubborn, cuts_off);
        let mut state = State::Assigned;
        for step in &steps {
            model.take(step);
            let reached = model.instance().record.state;
            prop_assert!(reached >= state, "a state went back");
            state = reached;
        }
        let ends = state >= State::Draining;
        model.take(&Step::EngineRefuses(false));
        model.take(&Step::Want(wanted));
        for _ in 0..6 {
            model.take(&Step::Wait(901));
        }
        let running = matches!(model.phase(), Some(Phase::Running { .. }));
        if wanted == Wanted::Stop {
            prop_assert_eq!(model.phase(), None);
        }
        if wanted == Wanted::Stop || ends {
            prop_assert!(!running);
            prop_assert_eq!(model.instance().record.state, State::Stopped);
        } else {
            prop_assert!(running);
        }
    }

    #[test]
    fn a_command_never_runs_twice(steps in steps(), stubborn: bool, cuts_off: bool) {
        let mut model = Model::with(once(), stubborn, cuts_off);
        for step in &steps {
            model.take(step);
            prop_assert!(model.starts <= 1, "started {} times", model.starts);
        }
    }
}

#[test]
fn a_command_ends_with_its_exit_code_and_stays_until_its_item_goes() {
    let mut model = Model::new(once(), false);
    model.take(&Step::Exit(3));
    let report = model.report();
    assert_eq!((report.state, report.exit_code), (State::Stopped, Some(3)));
    assert_eq!(report.problem.unwrap().code, "exited");
    assert!(model.container.is_some());
    model.take(&Step::Want(Wanted::Stop));
    assert!(model.container.is_none());
}

#[test]
fn a_command_whose_start_was_cut_off_says_that_it_may_have_run() {
    let mut model = Model::with(once(), false, true);
    model.take(&Step::Wait(3));
    let report = model.report();
    assert_eq!((report.state, report.exit_code), (State::Stopped, None));
    assert_eq!(report.problem.unwrap().code, "start_cut_off");
    assert_eq!(model.starts, 1);
    model.take(&Step::Want(Wanted::Stop));
    assert!(model.container.is_none());
}

/// Its state, exit code and problem.
fn end_of(model: &mut Model) -> (State, Option<i64>, Option<String>) {
    let report = model.report();
    let code = report.problem.map(|problem| problem.code);
    (report.state, report.exit_code, code)
}

fn lost() -> (State, Option<i64>, Option<String>) {
    (State::Stopped, None, Some("exit_code_lost".to_owned()))
}

#[test]
fn a_command_whose_exit_code_is_lost_says_that_it_may_have_done_its_work() {
    let mut engine_away = Model::new(once(), false);
    engine_away.take(&Step::ExitUnseen(255));
    let mut agent_away = Model::new(once(), false);
    agent_away.end(255);
    agent_away.take(&Step::AgentRestarts);
    for model in [&mut engine_away, &mut agent_away] {
        assert_eq!(end_of(model), lost());
        model.take(&Step::AgentRestarts);
        assert_eq!((end_of(model), model.starts), (lost(), 1));
    }
}

#[test]
fn a_lost_exit_code_is_remembered_until_a_document_is_there() {
    let mut model = Model::new(once(), false);
    model.take(&Step::Want(Wanted::Unknown));
    model.take(&Step::ExitUnseen(255));
    model.take(&Step::AgentRestarts);
    model.take(&Step::Want(Wanted::Run));
    assert_eq!(end_of(&mut model), lost());
}

#[test]
fn an_exit_code_that_somebody_saw_or_the_engine_knows_is_the_command_s_own() {
    let exited = |code| (State::Stopped, Some(code), Some("exited".to_owned()));
    let ended = |steps: &[Step]| {
        let mut model = Model::new(once(), false);
        steps.iter().for_each(|step| model.take(step));
        end_of(&mut model)
    };
    assert_eq!(ended(&[Step::Exit(255)]), exited(255));
    let seen_again = [Step::EngineIsAway, Step::AgentRestarts, Step::Exit(255)];
    assert_eq!(ended(&seen_again), exited(255));
    assert_eq!(ended(&[Step::ExitUnseen(3)]), exited(3));
    let done = (State::Stopped, Some(0), None);
    assert_eq!(ended(&[Step::ExitUnseen(0)]), done);
}

#[test]
fn a_command_that_was_ended_has_its_reason_even_if_its_exit_code_is_lost() {
    let mut model = Model::new(once(), true);
    model.take(&Step::Wait(61));
    model.take(&Step::ExitUnseen(255));
    assert_eq!(model.report().problem.unwrap().code, "timed_out");
}

#[test]
fn a_program_whose_exit_code_is_lost_is_started_again_and_not_blamed() {
    let mut model = Model::new(service(), false);
    for _ in 0..4 {
        model.take(&Step::ExitUnseen(255));
    }
    let report = model.report();
    assert_eq!((report.restarts, report.exit_code), (3, None));
    let problem = report.problem.unwrap();
    assert_eq!(problem.code, "exit_code_lost");
    assert!(problem.message.contains("again in 30 s"));
}

#[test]
fn a_command_that_runs_too_long_is_ended_and_says_so() {
    let mut model = Model::new(once(), true);
    model.take(&Step::Wait(61));
    model.take(&Step::Wait(31));
    let report = model.report();
    assert_eq!(
        (report.state, report.exit_code),
        (State::Stopped, Some(137))
    );
    assert_eq!(report.problem.unwrap().code, "timed_out");
}

#[test]
fn a_clock_that_is_set_neither_ends_a_command_nor_lets_it_run_for_ever() {
    let mut model = Model::new(once(), true);
    model.take(&Step::Wait(1));
    model.take(&Step::ClockIsSet(400 * 24 * 3600));
    model.take(&Step::Wait(58));
    assert!(model.instance().ending.is_none());
    model.take(&Step::ClockIsSet(-401 * 24 * 3600));
    model.take(&Step::Wait(2));
    assert!(model.instance().ending.is_some());
    model.take(&Step::Wait(31));
    assert_eq!(model.report().problem.unwrap().code, "timed_out");
}

#[test]
fn a_crash_loop_is_reported_with_its_exit_code_and_waits() {
    let mut model = Model::new(service(), false);
    for _ in 0..4 {
        model.take(&Step::Exit(1));
    }
    let report = model.report();
    assert_eq!((report.restarts, report.exit_code), (3, Some(1)));
    assert!(report.problem.unwrap().message.contains("again in 30 s"));
    assert!(matches!(model.phase(), Some(Phase::Ended { .. })));
    model.take(&Step::Wait(30));
    assert!(matches!(model.phase(), Some(Phase::Running { .. })));
}

#[test]
fn a_run_that_is_not_up_yet_says_so_unless_the_end_of_the_one_before_says_more() {
    let mut model = Model::new(service(), false);
    let code = |model: &mut Model| model.report().problem.map(|problem| problem.code);
    model.take(&Step::StartupFails);
    let starting = Some("startup_probe_failing".to_owned());
    assert_eq!(code(&mut model), starting);
    model.take(&Step::Exit(1));
    model.take(&Step::StartupFails);
    assert_eq!(code(&mut model).as_deref(), Some("exited"));
    model.take(&Step::Probe(true));
    assert_eq!(code(&mut model), None);
}

#[test]
fn a_dead_program_is_restarted_and_not_ready_meanwhile() {
    let mut model = Model::new(service(), true);
    model.take(&Step::Probe(true));
    assert!(model.report().ready);
    model.take(&Step::Probe(false));
    let report = model.report();
    assert_eq!((report.ready, report.state), (false, State::Running));
    assert_eq!(report.problem.unwrap().code, "liveness_probe_failed");
    model.take(&Step::Wait(30));
    assert_eq!(model.report().restarts, 1);
}

#[test]
fn a_draining_instance_gets_its_grace_and_no_more() {
    let mut model = Model::new(service(), true);
    model.take(&Step::Want(Wanted::Stop));
    assert_eq!(model.report().state, State::Draining);
    model.take(&Step::Wait(29));
    assert_eq!(model.report().state, State::Draining);
    model.take(&Step::Wait(1));
    assert_eq!(model.report().state, State::Stopped);
    assert_eq!(model.phase(), None);
}

#[test]
fn ready_stands_across_a_restart_of_the_agent() {
    let mut model = Model::new(service(), false);
    model.take(&Step::Probe(true));
    model.take(&Step::AgentRestarts);
    let report = model.report();
    assert!(report.ready && report.address.is_some());
    let id = model.item.id;
    assert!(model.instance().probed_run(id).unwrap().started);
}
