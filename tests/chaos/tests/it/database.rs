//! The platform's database is lost: a standby takes its place, or a backup from before the last changes.
//! Tenants notice nothing, nothing that runs is stopped, and every node follows the new history.

mod brake;
mod failover;
mod restore;

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Result, ensure};
use chaos::{
    engine::{self, Running},
    postgres::Server,
};
use e2e::{
    load::{Kind, Load, Rate},
    platform::{Fixture, Platform},
    wait,
};

/// A node that could not connect has paused for longer and longer between its tries.
const FOLLOWED_WITHIN: Duration = Duration::from_secs(45);
const REQUESTS_AT_LEAST: usize = 100;
/// It takes seconds only.
const RATES: [Rate; 2] = [
    Rate {
        kind: Kind::Get1,
        per_second: 25.0,
    },
    Rate {
        kind: Kind::Get2,
        per_second: 25.0,
    },
];

/// Load on these and on an application that nobody changes.
fn load(platform: &Platform, fixtures: &[&Fixture]) -> Load {
    let hosts = fixtures.iter().map(|fixture| fixture.host.as_str());
    let hosts = hosts.chain([platform.status.example_host.as_str()]);
    let edges: Vec<_> = hosts.flat_map(|host| platform.edges(host)).collect();
    Load::start(&edges, &RATES)
}

/// The database's epoch, by its own word.
async fn epoch(server: &Server) -> Result<i64> {
    Ok(server.sql("select epoch from platform").await?.parse()?)
}

/// Waits until every node has applied a document of this epoch, in each feed it follows.
async fn followed(server: &Server, epoch: i64) -> Result<()> {
    wait::outcome(FOLLOWED_WITHIN, || async {
        let behind =
            format!("select count(*) filter (where epoch < {epoch}), count(*) from node_feed");
        let counts = server.sql(&behind).await?;
        ensure!(
            counts.starts_with("0|") && counts != "0|0",
            "of the nodes' feeds, behind epoch {epoch}|all: {counts}"
        );
        Ok(())
    })
    .await
}

/// Insists that these containers run, the same as before.
async fn run_on(platform: &Platform, before: &BTreeSet<Running>) -> Result<()> {
    let now = engine::running(platform).await?;
    let gone: Vec<_> = before.difference(&now).collect();
    ensure!(gone.is_empty(), "containers were stopped: {gone:?}");
    Ok(())
}
