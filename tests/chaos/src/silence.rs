//! Time that passes for a node of which nothing is heard, and for nobody else: when it was last heard is moved back.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::platform::Platform;
use sqlx::{Connection as _, PgConnection};

use crate::observe;

/// The agent and the edge of that name have been silent for so much longer.
pub async fn passes(platform: &Platform, node: &str, time: Duration) -> Result<()> {
    let url = observe::database_url(platform)?;
    let mut connection = PgConnection::connect(&url)
        .await
        .context("connecting to PostgreSQL")?;
    let moved = sqlx::query(
        "update node_status s set reported_at = s.reported_at - make_interval(secs => $2),
            late_since = s.late_since - make_interval(secs => $2)
         from node n where n.id = s.node_id and n.name = $1 and n.denied_at is null",
    )
    .bind(node)
    .bind(time.as_secs_f64())
    .execute(&mut connection)
    .await
    .with_context(|| format!("letting time pass for {node}"))?;
    ensure!(moved.rows_affected() > 0, "no node is called {node}");
    Ok(())
}
