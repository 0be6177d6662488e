//! A database that was copied back to an earlier point: nothing that runs is stopped, what was placed
//! since is taken back where the plan misses it, and what it knows nothing of waits for an operator.

use std::sync::{Arc, Mutex};

use control_plane::{
    store::{epoch, tx::SystemTx},
    waker::Topic,
};
use domain::{
    id::{InstanceId, ServiceId},
    instance::Desired,
};
use link::follow::Standing;
use protocol::item::{NodeItem, RegionRouteItem};
use testkit::{fake_agent::FakeAgent, fake_edge::FakeEdge, wait::until};

use super::platform::{DEADLINE, Platform, Replica};

const ONE: &str = r#"{"scale":{"regions":{"us-east":1}}}"#;

/// Every table, as it is now, into a schema of its own.
async fn back_up(platform: &Platform) {
    sqlx::raw_sql(
        "create schema backup;
         do $$ declare name text; begin
            for name in select tablename from pg_tables where schemaname = 'public' loop
                execute format('create table backup.%I as table public.%I', name, name);
            end loop;
         end $$;",
    )
    .execute(&platform.pool)
    .await
    .unwrap();
}

/// All at once; tried again while a last transaction of the dead replica is in its way.
/// Again when a report that was under way at the dropped replica holds rows in another order.
async fn copy_back(platform: &Platform) {
    let sql = "set session_replication_role = replica;
         do $$ declare name text; begin
            for name in select tablename from pg_tables where schemaname = 'backup' loop
                execute format('delete from public.%I', name);
                execute format('insert into public.%I select * from backup.%I', name, name);
            end loop;
         end $$;
         set session_replication_role = default;";
    until(DEADLINE, async || {
        let copied = sqlx::raw_sql(sql).execute(&platform.pool).await;
        copied.is_ok()
    })
    .await;
}

/// As the operator does once nodes have shown what this database lacks.
async fn say_restored(replica: &Replica) {
    until(DEADLINE, async || {
        let mut tx = SystemTx::begin(&replica.state.pools).await.unwrap();
        epoch::shown(&mut tx).await.unwrap().is_some()
    })
    .await;
    let mut tx = SystemTx::begin(&replica.state.pools).await.unwrap();
    epoch::restored(&mut tx).await.unwrap();
    tx.commit().await.unwrap();
}

fn held(agent: &FakeAgent) -> Vec<(ServiceId, InstanceId, Standing)> {
    let state = agent.state().borrow().clone();
    let instances = state.items.values().filter_map(|entry| match &entry.item {
        NodeItem::Instance(item) => Some((item.service_id, item.id, entry.standing)),
        _ => None,
    });
    instances.collect()
}

fn routed(edge: &FakeEdge, service: ServiceId) -> Vec<InstanceId> {
    let state = edge.region_routes().borrow().clone();
    let endpoints = state.items.values().filter_map(|entry| match &entry.item {
        RegionRouteItem::Service(item) if item.service_id == service => {
            Some(item.endpoints.iter().map(|endpoint| endpoint.instance_id))
        }
        _ => None,
    });
    endpoints.flatten().collect()
}

/// Which nodes have told of, with their services.
async fn orphans(platform: &Platform) -> Vec<(uuid::Uuid, uuid::Uuid)> {
    sqlx::query_as("select service_id, instance_id from orphan_instance")
        .fetch_all(&platform.pool)
        .await
        .unwrap()
}

/// It was silent for so long that its instances are replaced.
async fn lost(platform: &Platform, replica: &Replica, name: &str) {
    sqlx::query(
        "update node_status s set late_since = now() - interval '3 minutes'
         from node n where n.id = s.node_id and n.name = $1",
    )
    .bind(name)
    .execute(&platform.pool)
    .await
    .unwrap();
    replica.state.waker.wake(Topic::Evaluations);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_placed_after_the_restore_point_is_taken_back_and_routed_and_nothing_is_stopped() {
    let platform = Platform::with("[node]\nreport_interval = \"200ms\"").await;
    let replica = platform.replica().await;
    let url = replica.url.clone();
    let first = platform.agent(&replica, "us-east", "east-1").await;
    let edge = platform.edge(&replica, "us-east", "east-edge").await;
    let web = platform.service("web", ONE).await;
    let deployment = platform.deploy(&replica, web).await;
    platform.reaches(deployment, "live").await;
    let second = platform.agent(&replica, "us-east", "east-2").await;
    until(DEADLINE, async || second.state().borrow().commit.is_some()).await;
    back_up(&platform).await;

    // Since then: the first node has died, its instance was placed anew, and a service was made.
    drop(first);
    until(DEADLINE, async || {
        lost(&platform, &replica, "east-1").await;
        matches!(held(&second)[..], [(_, _, Standing::Current)])
    })
    .await;
    let moved = held(&second)[0].1;
    until(DEADLINE, async || routed(&edge, web) == [moved]).await;
    let unknown = platform.service("api", ONE).await;
    let deployment = platform.deploy(&replica, unknown).await;
    platform.reaches(deployment, "live").await;
    let told_to_stop = Arc::new(Mutex::new(Vec::new()));
    let told = told_to_stop.clone();
    second.on_instance(move |item, _| {
        if item.desired == Desired::Stop {
            told.lock().unwrap().push(item.id);
        }
    });

    drop(replica);
    copy_back(&platform).await;
    let replica = platform.replica_at(&url).await;
    say_restored(&replica).await;
    // The database believes the first node alive until it has been silent for long enough: by far longer than the
    // second one takes to tell what it runs on with.
    until(DEADLINE, async || orphans(&platform).await.len() == 2).await;
    until(DEADLINE, async || {
        lost(&platform, &replica, "east-1").await;
        let now = held(&second);
        now.contains(&(web, moved, Standing::Current))
            && now.iter().any(|(service, _, standing)| {
                *service == unknown && *standing == Standing::Orphaned
            })
    })
    .await;
    let taken_back: (String, i64, i64) = sqlx::query_as(
        "select n.name, n.reserved_cpu_millis, i.cpu_millis from instance i join node n on n.id = i.node_id where i.id = $1",
    )
    .bind(moved.uuid())
    .fetch_one(&platform.pool)
    .await
    .unwrap();
    assert_eq!(taken_back.0, "east-2");
    assert_eq!(taken_back.1, taken_back.2, "its reservation counts");
    until(DEADLINE, async || routed(&edge, web) == [moved]).await;
    assert_eq!(*told_to_stop.lock().unwrap(), []);

    // What the database does not know is let go by an operator, and only then ends.
    let orphans = orphans(&platform).await;
    let [(service, instance)] = orphans[..] else {
        panic!("{orphans:?}");
    };
    assert_eq!(service, unknown.uuid());
    assert_eq!(routed(&edge, unknown).len(), 1, "it is served on");
    let mut tx = SystemTx::begin(&replica.state.pools).await.unwrap();
    let gone = control_plane::store::orphan::let_go(&mut tx, instance.into())
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert!(gone);
    replica.state.waker.wake(Topic::Instances);
    until(DEADLINE, async || {
        matches!(held(&second)[..], [(_, _, Standing::Current)])
    })
    .await;
}
