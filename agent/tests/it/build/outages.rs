//! Parts of the platform die under a build: it goes through once they are back, and says whose failure it was
//! when they stay away.

use std::{sync::atomic::Ordering, time::Duration};

use domain::{id::BuildId, quantity::Span};
use protocol::report::BuildState;

use super::{
    machine::{eventually, possible},
    rig::Rig,
};

const SOON: Duration = Duration::from_secs(60);
/// Something to push that takes a moment, and a step in which an engine can die.
const DOCKERFILE: &str = "FROM base
RUN dd if=/dev/urandom of=/tmp/large bs=1M count=24
RUN echo asleep && sleep 3
";

/// How often the build's log says that this was tried again.
fn tries(rig: &Rig, build: BuildId, code: &str) -> usize {
    let said = format!("{code}: trying again");
    rig.lines.of(build).matches(&said).count()
}

async fn tried_again(rig: &Rig, build: BuildId, code: &str) {
    let before = tries(rig, build, code);
    let what = format!("{code} is tried again; {}", rig.lines.of(build));
    eventually(&what, SOON, || tries(rig, build, code) > before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_outlives_its_control_plane_its_registry_and_its_engine() {
    if !possible() {
        return;
    }
    let mut rig = Rig::start().await;
    let repo = rig.repository("shop", &[("Dockerfile", DOCKERFILE)]);
    let mut item = rig.item(&repo);
    item.timeout = Span::seconds(300);

    // While the base image is looked up.
    rig.platform.registry.kill();
    rig.platform.away.store(true, Ordering::Relaxed);
    rig.want(&item);
    tried_again(&rig, item.id, "registry_unavailable").await;
    rig.platform.registry.serve().await;
    tried_again(&rig, item.id, "registry_unavailable").await;
    rig.platform.away.store(false, Ordering::Relaxed);

    // In a step.
    eventually("the step runs", SOON, || {
        rig.lines.of(item.id).contains("asleep")
    })
    .await;
    rig.kill_engine().await;
    tried_again(&rig, item.id, "build_engine_failed").await;
    rig.start_engine().await;

    // In the push.
    rig.wait(item.id, |state| *state == BuildState::Pushing)
        .await;
    rig.kill_engine().await;
    rig.platform.registry.kill();
    tried_again(&rig, item.id, "build_engine_failed").await;
    rig.start_engine().await;
    tried_again(&rig, item.id, "push_failed").await;
    rig.platform.registry.serve().await;

    let ended = |state: &BuildState| !matches!(state, BuildState::Pushing);
    let BuildState::Succeeded(result) = rig.wait(item.id, ended).await else {
        panic!("{}", rig.lines.of(item.id));
    };
    let repository = item.repository.split_once('/').unwrap().1;
    let (status, _) = rig
        .platform
        .registry
        .manifest(repository, &result.digest)
        .await;
    assert_eq!(status, 200);
    cancels_at_once(&rig, &repo).await;
}

async fn cancels_at_once(rig: &Rig, repo: &str) {
    let mut item = rig.item(repo);
    rig.platform.registry.kill();
    rig.want(&item);
    tried_again(rig, item.id, "registry_unavailable").await;
    item.cancel = true;
    let (code, message) = rig.fails(&item).await;
    assert_eq!(code, "build_canceled", "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stays_away_is_the_platform_s_failure() {
    if !possible() {
        return;
    }
    let mut rig = Rig::with_patience(Span::seconds(0)).await;
    let repo = rig.repository("shop", &[("Dockerfile", "FROM base\nRUN echo made\n")]);

    rig.platform.registry.kill();
    let (code, message) = rig.fails(&rig.item(&repo)).await;
    assert_eq!(code, "registry_unavailable", "{message}");
    assert!(message.contains("the platform's own failure"), "{message}");
    rig.platform.registry.serve().await;

    rig.platform.away.store(true, Ordering::Relaxed);
    let (code, message) = rig.fails(&rig.item(&repo)).await;
    assert_eq!(code, "registry_unavailable", "{message}");
    assert!(message.contains("gave no token"), "{message}");
    rig.platform.away.store(false, Ordering::Relaxed);

    rig.kill_engine().await;
    let (code, message) = rig.fails(&rig.item(&repo)).await;
    assert_eq!(code, "build_engine_failed", "{message}");
    assert!(message.contains("the platform's own failure"), "{message}");
}
