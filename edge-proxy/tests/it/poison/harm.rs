//! Harm that is done to a process on purpose: the checks of these tests must notice.

use std::time::Duration;

use domain::id::ServiceId;
use protocol::feed::DropCause;
use testkit::poison::{Items, service_item};

use super::trial::{GLOBAL, HOSTNAMES, REGION, Trial};
use crate::support::until;

/// What was said to be wrong.
fn found(outcome: Result<(), String>) -> String {
    outcome.expect_err("nobody noticed")
}

#[tokio::test]
async fn a_process_that_ended_or_was_started_again_is_found() {
    let mut trial = Trial::start(1).await;
    assert_eq!(trial.is_unharmed().await, Ok(()));

    trial.edge.restart();
    trial.begins_to_serve().await;
    let what = found(trial.is_unharmed().await);
    assert!(what.contains("another process"), "{what}");

    trial.edge.child.kill().unwrap();
    trial.edge.child.wait().unwrap();
    let what = found(trial.is_unharmed().await);
    assert!(what.contains("it ended"), "{what}");
}

/// With a cause the brake lets all go: what an edge without one does by any empty document.
#[tokio::test]
async fn a_process_that_drops_its_last_good_state_is_found() {
    let mut trial = Trial::start(1).await;
    let (set, bytes) = trial.forge(GLOBAL, |forge| {
        let set = forge.whole(Items::new(), Some(DropCause::Plan));
        let bytes = forge.lines(&set).into_bytes();
        (set, bytes)
    });
    trial.send(GLOBAL, bytes).await;
    trial.publish(GLOBAL, &set);
    let commit = trial.forge(GLOBAL, |forge| forge.commit(&set));
    until("it is followed", async || trial.follows(&commit)).await;
    let what = found(trial.is_unharmed().await);
    assert!(what.contains(HOSTNAMES[0]), "{what}");

    assert_eq!(trial.recovers(GLOBAL).await, Ok(()));
    assert_eq!(trial.is_unharmed().await, Ok(()));
}

/// Signed by the right key in place of a forger's: what an edge that trusts any key does.
#[tokio::test]
async fn a_process_that_takes_what_is_forged_is_found() {
    let mut trial = Trial::start(1).await;
    trial.patience = Duration::from_secs(3);
    let (commit, bytes) = trial.forge(REGION, |forge| {
        let item = service_item(ServiceId::new(), Vec::new());
        let set = forge.difference(vec![item], &[]);
        (forge.commit(&set), forge.lines(&set).into_bytes())
    });
    trial.send(REGION, bytes).await;
    until("it is followed", async || trial.follows(&commit)).await;
    assert_eq!(trial.is_unharmed().await, Ok(()), "nobody feels it yet");
    let what = found(trial.recovers(REGION).await);
    assert!(what.contains("does not take the right document"), "{what}");
}
