//! What becomes of what a document lacks.

use super::*;

#[tokio::test]
async fn nothing_ends_before_a_document_drops_it_and_then_it_drains() {
    let (mut node, web) = (Node::start(), worker());
    has_image(&node, &web, "1000");
    node.want(&[&web]);
    node.until("it runs", |_, engine| is_running(engine, web.id))
        .await;
    node.desired.send_replace(None);
    node.restart();
    node.until("it is seen", |observed, _| {
        observed
            .instances
            .first()
            .is_some_and(|i| i.state == State::Running)
    })
    .await;
    assert!(is_running(&node.engine, web.id));
    for (orphaned, document) in [(true, &[][..]), (false, &[&web])] {
        node.want(document);
        let what = "it is known whether the document has it";
        node.until(what, |observed, _| {
            let first = observed.instances.first();
            first.is_some_and(|i| i.orphaned == orphaned)
        })
        .await;
        assert!(is_running(&node.engine, web.id));
    }
    node.want(&[]);
    node.until("it is gone", |observed, engine| {
        engine.world().containers.is_empty()
            && observed
                .instances
                .first()
                .is_some_and(|i| i.state == State::Stopped)
    })
    .await;
    let stop = Signal::Stop(StopSignal::Sigterm);
    assert_eq!(node.engine.world().signals, [(web.id, stop)]);
}

#[tokio::test]
async fn a_container_of_ours_that_no_document_ever_had_runs_on_as_orphaned() {
    let mut node = Node::start();
    let stranger = item(service());
    let spec = crate::runtime::ContainerSpec {
        labels: Labels::from(&stranger),
        item_digest: String::new(),
        service_name: stranger.service_name.clone(),
        image: stranger.image.clone(),
        command: None,
        environment: BTreeMap::new(),
        publish: None,
        resources: stranger.resources,
        confinement: stranger.confinement,
        stop_signal: stranger.stop_signal,
    };
    node.engine.create(spec).await.unwrap();
    node.engine.start(stranger.id).await.unwrap();
    node.want(&[]);
    node.until("it is reported", |observed, _| {
        observed.complete && observed.instances.first().is_some_and(|i| i.orphaned)
    })
    .await;
    assert!(is_running(&node.engine, stranger.id));
    assert!(node.engine.world().signals.is_empty());
}
