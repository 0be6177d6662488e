//! Feeds at rest and the epoch guard.

use std::collections::BTreeMap;

use control_plane::{
    feed::heads,
    store::{
        epoch,
        feed::{self, Change, Following},
        tx::SystemTx,
    },
};
use domain::{
    generation::{Epoch, Generation, Position},
    ring::Ring,
};
use link::follow::Standing;
use protocol::{
    feed::{
        DropCause, FeedName,
        digest::{Document, Rendered},
    },
    item::NodeItem,
};
use testkit::wait::until;
use tokio::sync::watch;

use super::platform::{DEADLINE, Platform, Replica};

fn put(id: &str, value: &str) -> Change {
    Change::Put {
        id: id.into(),
        item: Rendered::of(&value).unwrap(),
        secrets: vec![],
    }
}

fn delete(id: &str) -> Change {
    Change::Delete {
        id: id.into(),
        cause: DropCause::Deletion,
    }
}

async fn write(replica: &Replica, changes: Vec<Change>) -> Generation {
    let mut tx = SystemTx::begin(&replica.state.pools).await.unwrap();
    let changes = BTreeMap::from([(FeedName::GlobalRoutes(Ring::All), changes)]);
    let positions = feed::write(&mut tx, changes).await.unwrap();
    tx.commit().await.unwrap();
    positions[&FeedName::GlobalRoutes(Ring::All)].generation
}

async fn read(replica: &Replica, after: Generation) -> feed::Changes {
    let mut tx = SystemTx::begin(&replica.state.pools).await.unwrap();
    let epoch = feed::epoch(&mut tx).await.unwrap();
    let following = Following { epoch, after };
    feed::changes(&mut tx, &FeedName::GlobalRoutes(Ring::All), following)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn generations_rise_only_with_changes_and_digests_are_those_of_the_document() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let mut document = Document::default();
    let mut last = write(&replica, vec![put("x/0", "zero")]).await;
    document.put("x/0", Rendered::of(&"zero").unwrap());
    for n in 1..40 {
        let (id, value) = (format!("x/{}", n % 7), format!("v{n}"));
        let gone = format!("x/{}", (n + 3) % 7);
        let generation = write(&replica, vec![put(&id, &value), delete(&gone)]).await;
        document.put(&id, Rendered::of(&value).unwrap());
        document.delete(&gone);
        assert!(generation > last);
        last = generation;
        let stored = read(&replica, Generation(0)).await;
        let ours = stored.items.iter().filter(|(id, _)| id.starts_with("x/"));
        assert_eq!(ours.count(), document.len());
    }
    let again = write(&replica, vec![put("x/4", "v39"), delete("x/nowhere")]).await;
    assert_eq!(again, last, "what changes nothing makes no generation");
    let whole = read(&replica, Generation(0)).await;
    let mut rebuilt = Document::default();
    for (id, item) in &whole.items {
        rebuilt.put(id, item.clone());
    }
    assert!(whole.full);
    assert_eq!(rebuilt.digest(), whole.head.digest);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_difference_leads_to_the_same_document_as_the_whole() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    write(&replica, vec![put("x/a", "1"), put("x/b", "1")]).await;
    let start = read(&replica, Generation(0)).await;
    let mut document = Document::default();
    for (id, item) in start.items {
        document.put(&id, item);
    }
    write(&replica, vec![delete("x/a"), put("x/b", "2")]).await;
    write(&replica, vec![put("x/c", "1")]).await;
    let difference = read(&replica, start.head.position.generation).await;
    assert!(!difference.full);
    for (id, item) in difference.items {
        document.put(&id, item);
    }
    for (id, cause) in difference.deleted {
        assert_eq!(cause, DropCause::Deletion);
        document.delete(&id);
    }
    assert_eq!(document.digest(), difference.head.digest);
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_at_once_never_lose_a_generation() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let before = write(&replica, vec![put("x/start", "0")]).await;
    let writers = (0..20).map(|n| {
        let replica = &replica;
        async move { write(replica, vec![put(&format!("x/{n}"), "1")]).await }
    });
    let mut generations = futures::future::join_all(writers).await;
    generations.sort_unstable();
    let distinct = generations.windows(2).all(|pair| pair[0] < pair[1]);
    assert!(distinct && generations[0] > before, "{generations:?}");
}

/// The instances that an agent has, and whether its document has them.
fn held(agent: &testkit::fake_agent::FakeAgent) -> Vec<(domain::id::DeploymentId, Standing)> {
    let state = agent.state().borrow().clone();
    state
        .items
        .values()
        .filter_map(|entry| match &entry.item {
            NodeItem::Instance(instance) => Some((instance.deployment_id, entry.standing)),
            _ => None,
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_restored_database_has_lost_runs_on_until_the_next_deployment() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let agent = platform.agent(&replica, "us-east", "east-1").await;
    let _edge = platform.edge(&replica, "us-east", "east-edge").await;
    let service = platform
        .service("web", r#"{"scale":{"regions":{"us-east":1}}}"#)
        .await;
    let lost = platform.deploy(&replica, service).await;
    platform.reaches(lost, "live").await;
    // As a backup from before the deployment would have it.
    let node = agent.node_id();
    for statement in [
        "update service set current_deployment_id = null, routed_deployment_id = null",
        "delete from instance",
        "delete from deployment",
        "delete from feed_item where feed like 'node/%'",
    ] {
        sqlx::query(statement)
            .execute(&platform.pool)
            .await
            .unwrap();
    }
    let feed = FeedName::Node(node).to_string();
    let empty = Document::default().digest();
    sqlx::query("update feed set digest = $2, buckets = '', count = 0 where name = $1")
        .bind(&feed)
        .bind(empty)
        .execute(&platform.pool)
        .await
        .unwrap();
    sqlx::query("update platform set epoch = epoch + 1")
        .execute(&platform.pool)
        .await
        .unwrap();
    until(DEADLINE, async || {
        held(&agent) == [(lost, Standing::Orphaned)]
    })
    .await;
    let orphan = lost;
    agent.on_instance(move |item, report| report.orphaned = item.deployment_id == orphan);
    let seen = "select count(*) from orphan_instance where service_id = $1";
    platform.counts(seen, service, 1).await;
    let next = platform.deploy(&replica, service).await;
    platform.reaches(next, "live").await;
    until(DEADLINE, async || {
        held(&agent) == [(next, Standing::Current)]
    })
    .await;
    platform.counts(seen, service, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_database_serves_nothing_until_an_operator_has_decided() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let edge = platform.edge(&replica, "us-east", "east-edge").await;
    write(&replica, vec![put("hostname/old", "1")]).await;
    let applied = "select coalesce(max(generation), 0) from node_feed where feed = 'routes/global'";
    let generation: i64 =
        sqlx::query_scalar("select generation from feed where name = 'routes/global'")
            .fetch_one(&platform.pool)
            .await
            .unwrap();
    until(DEADLINE, async || {
        let seen: i64 = sqlx::query_scalar(applied)
            .fetch_one(&platform.pool)
            .await
            .unwrap();
        seen >= generation
    })
    .await;
    // As a backup from before that change would have it.
    sqlx::query("update feed set generation = 1 where name = 'routes/global'")
        .execute(&platform.pool)
        .await
        .unwrap();
    let shown = async || {
        let mut tx = SystemTx::begin(&replica.state.pools).await.unwrap();
        epoch::shown(&mut tx).await.unwrap()
    };
    until(DEADLINE, async || shown().await.is_some()).await;
    let mut tx = SystemTx::begin(&replica.state.pools).await.unwrap();
    let raised = epoch::restored(&mut tx).await.unwrap();
    tx.commit().await.unwrap();
    assert!(raised > Epoch(1));
    assert_eq!(shown().await, None);
    until(DEADLINE, async || {
        let state = edge.global_routes().borrow().clone();
        state
            .commit
            .as_ref()
            .is_some_and(|commit| commit.epoch == raised)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_has_seen_more_stops_serving_before_any_node_shows_it() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let mut lost = Generation(0);
    // More than reconcilers add meanwhile.
    for value in ["1", "2", "3", "4", "5"] {
        lost = write(&replica, vec![put("hostname/old", value)]).await;
    }
    let (sender, newest) = watch::channel(None);
    let reading = tokio::spawn(heads::run(replica.state.clone(), sender));
    until(DEADLINE, async || newest.borrow().is_some()).await;

    // As a copied data folder has it: the server's identity and timeline are the same.
    sqlx::query("update feed set generation = 1 where name = 'routes/global'")
        .execute(&platform.pool)
        .await
        .unwrap();
    let shown = async || {
        let mut tx = SystemTx::begin(&replica.state.pools).await.unwrap();
        epoch::shown(&mut tx).await.unwrap()
    };
    until(DEADLINE, async || shown().await.is_some()).await;
    // By the first of two readers, and the replica's own may have seen less than the last change.
    assert!(shown().await.unwrap().position.generation > Generation(1));
    let mut tx = SystemTx::begin(&replica.state.pools).await.unwrap();
    epoch::restored(&mut tx).await.unwrap();
    tx.commit().await.unwrap();

    // Whoever comes late with that does not bar the epoch that has begun.
    let mut tx = SystemTx::begin(&replica.state.pools).await.unwrap();
    let old = Position {
        epoch: Epoch(1),
        generation: lost,
    };
    epoch::show(&mut tx, &FeedName::GlobalRoutes(Ring::All), old)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(shown().await, None);
    reading.abort();
}
