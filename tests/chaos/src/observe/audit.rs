//! What somebody has asked for: by the rows that it made, and by the audit log.

use anyhow::{Context as _, Result};
use sqlx::PgConnection;

use crate::world::World;

pub(super) async fn rows(tx: &mut PgConnection, world: &mut World) -> Result<()> {
    let made: Vec<(String, String)> = sqlx::query_as(
        "select 'project.create', 'prj_' || replace(id::text, '-', '') from project
         union all select 'service.create', 'svc_' || replace(id::text, '-', '') from service
         union all select 'deployment.create', 'dep_' || replace(id::text, '-', '') from deployment",
    )
    .fetch_all(&mut *tx)
    .await?;
    world.made = made.into_iter().collect();
    let told: Vec<(String, String, i64)> = sqlx::query_as(
        "select action, resource, count(*) from audit_event
         where outcome = 'success' and resource is not null and action in ('project.create', 'project.delete',
            'service.create', 'service.scale', 'deployment.create', 'shared_variable.set')
         group by action, resource",
    )
    .fetch_all(tx)
    .await?;
    for (action, resource, count) in told {
        let count = usize::try_from(count).context("a number of audit events")?;
        world.audited.insert((action, resource), count);
    }
    Ok(())
}
