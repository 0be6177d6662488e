//! What edges count.

use domain::id::NodeId;
use protocol::report::EdgeReport;

use super::{Error, signed};
use crate::store::tx::{Access as _, SystemTx};

/// Deployments of a service among which the changing one is looked for: there may be a year's behind them.
const NEWEST: i64 = 20;

/// Adds what an edge has counted since its last report to the deployment that is changing the
/// service (or has just done so): what failed during a change is that change's. What an edge counts no more is
/// forgotten here too.
pub(super) async fn count(
    tx: &mut SystemTx,
    node: NodeId,
    boot_id: &str,
    edge: &EdgeReport,
) -> Result<(), Error> {
    let mut rows = (vec![], vec![], vec![]);
    for (deployment, counts) in &edge.deployments {
        rows.0.push(deployment.uuid());
        rows.1.push(signed(counts.requests)?);
        rows.2.push(signed(counts.failed)?);
    }
    sqlx::query(
        "with reported as (
            select * from unnest($3::uuid[], $4::bigint[], $5::bigint[]) as r (deployment_id, requests, failed)
         ), grown as (
            select r.deployment_id,
                r.requests - case when c.boot_id = $2 then least(c.requests, r.requests) else 0 end as requests,
                r.failed - case when c.boot_id = $2 then least(c.failed, r.failed) else 0 end as failed
            from reported r left join edge_request_count c on c.node_id = $1 and c.deployment_id = r.deployment_id
         ), kept as (
            insert into edge_request_count (node_id, deployment_id, boot_id, requests, failed)
            select $1, deployment_id, $2, requests, failed from reported
            on conflict (node_id, deployment_id) do update set boot_id = excluded.boot_id,
                requests = excluded.requests, failed = excluded.failed
            where (edge_request_count.boot_id, edge_request_count.requests, edge_request_count.failed)
                is distinct from (excluded.boot_id, excluded.requests, excluded.failed)
         ), forgotten as (
            delete from edge_request_count c where c.node_id = $1
               and not exists (select 1 from reported r where r.deployment_id = c.deployment_id)
         ), sums as (
            select changing.id, sum(g.requests)::bigint as requests, sum(g.failed)::bigint as failed
            from grown g join deployment d on d.id = g.deployment_id
            join lateral (
                select t.id from (
                    select * from deployment newest
                    where newest.service_id = d.service_id and newest.organization_id = d.organization_id
                    order by newest.number desc limit $6
                ) t
                where t.state not in ('queued', 'building', 'releasing', 'canceled', 'superseded')
                  and (t.finished_at is null or t.finished_at > now() - interval '60 seconds')
                order by t.number desc limit 1
            ) changing on true
            where g.requests > 0 or g.failed > 0 group by changing.id
         )
         update deployment set requests = deployment.requests + sums.requests,
            failed_requests = deployment.failed_requests + sums.failed
         from sums where deployment.id = sums.id",
    )
    .bind(node.uuid())
    .bind(boot_id)
    .bind(rows.0)
    .bind(rows.1)
    .bind(rows.2)
    .bind(NEWEST)
    .execute(tx.executor())
    .await?;
    Ok(())
}
