//! From the rows of edges to a zone that a real name server serves, with real reconcilers.

use std::net::IpAddr;

use control_plane::{dns::Resolver, waker::Topic};
use testkit::wait::until;
use uuid::Uuid;

use crate::{
    name_server::NameServer,
    orchestration::platform::{DEADLINE, Platform, Replica},
};

const DOMAIN: &str = "railhead.test";

/// An edge that has told its address and reports.
async fn edge(platform: &Platform, name: &str, address: &str) {
    sqlx::query(
        "with joined as (
            insert into node (id, region_id, role, name, public_key)
            select $1, id, 'edge', $2, '' from region where name = 'us-east'
         )
         insert into node_status (node_id, boot_id, sequence, protocol, binary_version, public_address, reported_at)
         values ($1, 'boot', 1, 1, 'test', $3, now())",
    )
    .bind(Uuid::now_v7())
    .bind(name)
    .bind(format!("{address}:443"))
    .execute(&platform.pool)
    .await
    .unwrap();
}

async fn change(platform: &Platform, replica: &Replica, sql: &'static str) {
    sqlx::query(sql).execute(&platform.pool).await.unwrap();
    replica.state.waker.wake(Topic::Nodes);
}

/// Waits until users of the platform are sent there.
async fn leads_to(server: &NameServer, name: &str, expected: &[&str]) {
    let resolver = Resolver::asking(&[server.address()]);
    let expected: Vec<IpAddr> = expected.iter().map(|text| text.parse().unwrap()).collect();
    until(DEADLINE, async || {
        let mut found = resolver.addresses(name).await.unwrap_or_default();
        found.sort_unstable();
        found == expected
    })
    .await;
}

/// What `railhead admin doctor` is told.
async fn error(platform: &Platform) -> Option<String> {
    sqlx::query_scalar("select error from reconciler where name = 'dns'")
        .fetch_optional(&platform.pool)
        .await
        .unwrap()
        .flatten()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_platforms_names_follow_its_edges() {
    let mut server = NameServer::of(DOMAIN);
    server.serve("").await;
    let more = format!(
        "[node]\nlate_after = \"1h\"\n{}",
        server.provider_configuration()
    );
    let platform = Platform::with(&more).await;
    edge(&platform, "e1", "192.0.2.1").await;
    edge(&platform, "e2", "192.0.2.2").await;
    edge(&platform, "e3", "0.0.0.0").await;
    let replica = platform.replica().await;
    let hostname = "web-shop.railhead.test";
    leads_to(&server, hostname, &["192.0.2.1", "192.0.2.2"]).await;

    let late = "update node_status set late_since = now() where public_address = '192.0.2.1:443'";
    change(&platform, &replica, late).await;
    leads_to(&server, hostname, &["192.0.2.2"]).await;

    // The last one is being emptied: it stays, until another one takes its place.
    let drained = "update node set draining = true where name = 'e2'";
    change(&platform, &replica, drained).await;
    edge(&platform, "e4", "192.0.2.4").await;
    replica.state.waker.wake(Topic::Nodes);
    leads_to(&server, hostname, &["192.0.2.4"]).await;
    assert_eq!(error(&platform).await, None);

    server.edit(&["zone-unset _railhead-owner._wildcard TXT"]);
    edge(&platform, "e5", "192.0.2.5").await;
    replica.state.waker.wake(Topic::Nodes);
    leads_to(&server, DOMAIN, &["192.0.2.4", "192.0.2.5"]).await;
    leads_to(&server, hostname, &["192.0.2.4"]).await;
    until(DEADLINE, async || {
        let said = error(&platform).await;
        said.is_some_and(|said| said.contains("*.railhead.test has A records without our mark"))
    })
    .await;
}
