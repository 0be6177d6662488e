//! An agent that is told to end.

use super::*;

#[tokio::test]
async fn who_is_told_to_end_ends_what_it_has_begun_and_begins_nothing_more() {
    let (mut node, web, late) = (Node::start(), worker(), worker());
    has_image(&node, &web, "1000");
    node.want(&[&web]);
    node.until("it runs", |observed, _| {
        observed.instances.first().is_some_and(|i| i.ready)
    })
    .await;
    node.engine.hold_starts(true);
    node.engine.exit(web.id, 1);
    node.until("it is being started again", |_, engine| {
        engine.world().held_starts == 1
    })
    .await;

    node.end.cancel();
    node.want(&[&web, &late]);
    node.engine.hold_starts(false);
    let ended = tokio::time::timeout(Duration::from_secs(20), node.running.take().unwrap());
    ended.await.unwrap().unwrap();
    assert!(is_running(&node.engine, web.id));
    assert!(!node.engine.world().containers.contains_key(&late.id));

    node.restart();
    let restarts = |observed: &Observed| {
        let mut all = observed.instances.iter();
        all.find(|one| one.id == web.id).map(|one| one.restarts)
    };
    assert_eq!(
        restarts(&node.observed.borrow()),
        Some(1),
        "known from the disk"
    );
    node.until("the other one runs", |_, engine| {
        is_running(engine, late.id)
    })
    .await;
    assert_eq!(node.engine.world().starts[&web.id], 2);
}
