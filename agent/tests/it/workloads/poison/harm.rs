//! Harm that is done to an agent, or to what it runs, on purpose: the checks of these tests must notice.

use std::time::Duration;

use bollard::query_parameters::RestartContainerOptionsBuilder;
use domain::id::NodeId;
use protocol::{
    feed::DropCause,
    item::{DeniedItem, NodeItem},
};
use testkit::{poison::Items, wait::until};

use super::{
    super::{
        machine::{Machine, in_a_network, on_a_machine},
        process::PATIENCE,
    },
    trial::Trial,
    with_an_engine, without_an_engine,
};

/// Until a right document that is refused counts as refused.
const REFUSED_AFTER: Duration = Duration::from_secs(3);

/// What was said to be wrong.
fn found(outcome: Result<(), String>) -> String {
    outcome.expect_err("nobody noticed")
}

fn of_an_agent<F: Future<Output = ()>>(test: impl FnOnce(Trial) -> F + Send) {
    in_a_network(|| async {
        let folder = tempfile::tempdir().unwrap();
        test(without_an_engine(1, folder.path()).await).await;
    });
}

#[test]
fn an_agent_that_ended_or_was_started_again_is_found() {
    of_an_agent(async |mut trial: Trial| {
        assert_eq!(trial.is_unharmed().await, Ok(()));
        trial.agent.kill();
        let what = found(trial.is_unharmed().await);
        assert!(what.contains("it ended"), "{what}");
        trial.agent.start_again();
        let what = found(trial.is_unharmed().await);
        assert!(what.contains("another process"), "{what}");
    });
}

/// With a cause the brake lets all go: what an agent without one does by any empty document.
#[test]
fn an_agent_that_drops_its_last_good_state_is_found() {
    of_an_agent(async |mut trial: Trial| {
        let (commit, bytes) = {
            let mut source = trial.control_plane.source();
            let set = source.forge.whole(Items::new(), Some(DropCause::Plan));
            source.forge.publish(&set);
            (source.forge.commit(&set), source.forge.lines(&set))
        };
        trial.send(bytes.into_bytes()).await;
        until(PATIENCE, async || trial.control_plane.is_followed(&commit)).await;
        let what = found(trial.is_unharmed().await);
        assert!(what.contains("it has None"), "{what}");
        assert_eq!(trial.recovers(PATIENCE).await, Ok(()));
        assert_eq!(trial.is_unharmed().await, Ok(()));
    });
}

/// Signed by the right key in place of a forger's: what an agent that trusts any key does.
#[test]
fn an_agent_that_takes_what_is_forged_is_found() {
    of_an_agent(async |mut trial: Trial| {
        let (commit, bytes) = {
            let source = trial.control_plane.source();
            let node_id = NodeId::new();
            let item = serde_json::to_value(NodeItem::Denied(DeniedItem { node_id })).unwrap();
            let item = (format!("denied/{node_id}"), item);
            let set = source.forge.difference(vec![item], &[]);
            (source.forge.commit(&set), source.forge.lines(&set))
        };
        trial.send(bytes.into_bytes()).await;
        until(PATIENCE, async || trial.control_plane.is_followed(&commit)).await;
        assert_eq!(trial.is_unharmed().await, Ok(()), "nobody feels it yet");
        let what = found(trial.recovers(REFUSED_AFTER).await);
        assert!(what.contains("does not take the right document"), "{what}");
    });
}

#[test]
fn a_container_that_was_started_again_is_found() {
    on_a_machine(async |machine: Machine| {
        let (mut trial, running) = with_an_engine(1, &machine).await;
        let [one, other] = &running[..] else { panic!() };
        let name = format!("rh-{}", one.id);
        let at_once = RestartContainerOptionsBuilder::new().t(0).build();
        let engine = machine.client();
        let restarted = engine.restart_container(&name, Some(at_once)).await;
        restarted.unwrap();
        let what = found(one.is_unharmed(&machine).await);
        assert!(what.contains("has become"), "{what}");
        assert_eq!(other.is_unharmed(&machine).await, Ok(()));
        assert_eq!(trial.is_unharmed().await, Ok(()));
    });
}
