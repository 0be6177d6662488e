//! Which nodes can be counted on, judged only by seconds in which some replica could have stored a
//! report.

use std::time::Duration;

use domain::id::{NodeId, OrganizationId, ServiceId};
use uuid::Uuid;

use super::{
    Error,
    tx::{Access as _, SystemTx},
};

/// A pause of this length in our listening makes the silence of nodes count anew, and the time of deployments' steps.
pub const GAP: Duration = Duration::from_secs(10);

/// Says that this replica could store reports just now. While the epoch guard refuses them nobody
/// listens. After a gap the time counts anew, also for nodes that were late and not lost yet. So it does when the
/// clock was ahead and has gone back: what was noted in the future counts as noted now.
pub async fn listen(tx: &mut SystemTx, gap: Duration) -> Result<(), Error> {
    sqlx::query(
        "with gap as (
            select listened_at as began from platform
            where shown_epoch is null and listened_at not between now() - make_interval(secs => $1)
                                                              and now() + make_interval(secs => $1)
         ), spared as (
            update node_status s set late_since = case when s.late_since is null then null
                    when s.late_since > least(now(), gap.began - interval '75 seconds') then now() else s.late_since end,
                reported_at = least(s.reported_at, now())
            from gap where s.late_since > gap.began - interval '75 seconds' or s.late_since > now() or s.reported_at > now()
         ), instances as (
            update instance_status t set reported_at = now() from gap where t.reported_at > now()
         )
         update platform set listened_at = now(), listening_since = case when exists (select 1 from gap)
                or listening_since > now() + make_interval(secs => $1) then now() else listening_since end
         where shown_epoch is null",
    )
    .bind(gap.as_secs_f64())
    .execute(tx.executor())
    .await?;
    Ok(())
}

/// Marks nodes that have been silent for `after`, or for twice as long since we listen again.
pub async fn mark_late(tx: &mut SystemTx, after: Duration) -> Result<Vec<NodeId>, Error> {
    let ids: Vec<Uuid> = sqlx::query_scalar(
        "update node_status s set late_since = now() from platform p
         where s.late_since is null and p.shown_epoch is null and now() >
            case when p.listening_since > s.reported_at then p.listening_since + make_interval(secs => 2 * $1)
                 else s.reported_at + make_interval(secs => $1) end
         returning s.node_id",
    )
    .bind(after.as_secs_f64())
    .fetch_all(tx.executor())
    .await?;
    Ok(ids.into_iter().map(Into::into).collect())
}

/// Services with instances on nodes that are lost or being emptied, where instances have ended by
/// themselves, or with more instances than are wanted (a lost node came back, a drain was called off,
/// a service has moved to another region): the scheduler has to look at them. Services that somebody holds just now
/// come with the next look; until the transaction's end nobody else takes those of this one.
pub async fn disturbed(tx: &mut SystemTx) -> Result<Vec<(OrganizationId, ServiceId)>, Error> {
    let rows: Vec<(Uuid, Uuid)> = sqlx::query_as(
        "select i.organization_id, i.service_id
         from instance i join node n on n.id = i.node_id join node_status s on s.node_id = n.id
         join instance_status t on t.instance_id = i.id cross join platform p
         where i.stopped_at is null and i.stop_cause is null and i.purpose = 'serve'
           and (n.draining or n.denied_at is not null or t.state = 70
                or s.late_since < now() - interval '75 seconds' and p.shown_epoch is null)
         union
         select i.organization_id, i.service_id
         from instance i join service s on s.id = i.service_id join region r on r.id = i.region_id
         where i.stopped_at is null and i.stop_cause is null and i.purpose = 'serve'
         group by i.organization_id, i.service_id, i.deployment_id, r.name, s.id
         having count(*) > case when coalesce(s.spec #> '{scale,regions}', '{}') = '{}' then 1
            else coalesce((s.spec #>> array['scale', 'regions', r.name])::bigint, 0) end",
    )
    .fetch_all(tx.executor())
    .await?;
    let services: Vec<Uuid> = rows.into_iter().map(|(_, service)| service).collect();
    let free: Vec<(Uuid, Uuid)> = sqlx::query_as(
        "select organization_id, id from service where id = any($1) order by id for key share skip locked",
    )
    .bind(services)
    .fetch_all(tx.executor())
    .await?;
    Ok(free
        .into_iter()
        .map(|(organization, service)| (organization.into(), service.into()))
        .collect())
}
