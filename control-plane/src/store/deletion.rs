//! What is left of a project, an environment or a service that is being deleted. One id finds all:
//! ids are unique among the three.

use domain::id::{OrganizationId, ServiceId};
use uuid::Uuid;

use super::{
    Error,
    route::Positions,
    tx::{Access as _, SystemTx},
};

/// A service that is deleted, itself or with what it is in.
pub struct Service {
    pub id: ServiceId,
    pub organization: OrganizationId,
}

macro_rules! with_services {
    ($rest:literal) => {
        concat!(
            "with doomed as (
                select s.id, s.organization_id, s.environment_id, s.name from service s
                join environment e on e.id = s.environment_id join project p on p.id = e.project_id
                where (s.deleted_at is not null or e.deleted_at is not null or p.deleted_at is not null)
                  and $1 in (s.id, e.id, p.id)
             ) ",
            $rest
        )
    };
}

pub async fn services(tx: &mut SystemTx, subject: Uuid) -> Result<Vec<Service>, Error> {
    let rows: Vec<(Uuid, Uuid)> = sqlx::query_as(with_services!(
        "select id, organization_id from doomed order by id"
    ))
    .bind(subject)
    .fetch_all(tx.executor())
    .await?;
    Ok(rows
        .into_iter()
        .map(|(id, organization)| Service {
            id: id.into(),
            organization: organization.into(),
        })
        .collect())
}

/// Deployments that have not ended and instances that were not told to go, for people.
pub async fn at_work(tx: &mut SystemTx, subject: Uuid) -> Result<Vec<String>, Error> {
    Ok(sqlx::query_scalar(with_services!(
        "select 'deployment ' || d.number || ' of ' || s.name || ' is ' || d.state
         from doomed s join deployment d on d.service_id = s.id where d.finished_at is null
         union all
         select 'an instance of ' || s.name || ' on node ' || n.name || ' is not told to stop yet'
         from doomed s join instance i on i.service_id = s.id join node n on n.id = i.node_id
         where i.stop_cause is null and i.stopped_at is null"
    ))
    .bind(subject)
    .fetch_all(tx.executor())
    .await?)
}

/// Names of edges that have not applied routes up to these positions.
pub async fn edges_behind(tx: &mut SystemTx, positions: &Positions) -> Result<Vec<String>, Error> {
    let feeds: Vec<String> = positions.keys().map(ToString::to_string).collect();
    let epochs: Vec<i64> = positions.values().map(|at| at.epoch.0).collect();
    let generations: Vec<i64> = positions.values().map(|at| at.generation.0).collect();
    Ok(sqlx::query_scalar(
        "with wanted as (
            select * from unnest($1::text[], $2::bigint[], $3::bigint[]) as p (feed, epoch, generation)
         )
         select n.name || case when s.late_since is null then '' else ' (silent)' end
         from node n join region on region.id = n.region_id left join node_status s on s.node_id = n.id
         where n.role = 'edge' and n.denied_at is null and exists (
            select 1 from unnest(array['routes/global', 'routes/region/' || region.name]) as tier
            where not exists (
                select 1 from node_feed f join wanted p on p.feed = f.feed
                where f.node_id = n.id and split_part(f.feed, '@', 1) = tier
                  and (f.epoch, f.generation) >= (p.epoch, p.generation)))
         order by n.name limit 10",
    )
    .bind(feeds)
    .bind(epochs)
    .bind(generations)
    .fetch_all(tx.executor())
    .await?)
}

/// Instances and builds that have not ended, and what nodes say to keep, for people. An agent that has just started
/// does not know it yet: what it said before may be older than an image that it has pulled. A node that an operator
/// has expelled is not asked.
pub async fn on_nodes(tx: &mut SystemTx, subject: Uuid) -> Result<Vec<String>, Error> {
    Ok(sqlx::query_scalar(with_services!(
        ", nodes as (
            select n.id, 'node ' || n.name || case when s.late_since is null then ''
                else ', silent since ' || to_char(s.late_since at time zone 'UTC', 'HH24:MI') || ' UTC,' end as name,
                s.kept_services as services, s.kept_environments as environments
            from node n left join node_status s on s.node_id = n.id where n.denied_at is null
         )
         select n.name || ' still runs ' || count(*) || ' of ' || s.name
         from doomed s join instance i on i.service_id = s.id join nodes n on n.id = i.node_id
         where i.stopped_at is null group by n.name, s.name
         union all
         select n.name || ' still builds ' || s.name
         from doomed s join build b on b.organization_id = s.organization_id and b.service_id = s.id
         join nodes n on n.id = b.node_id
         where b.finished_at is null or exists (select 1 from feed_item f
            where f.feed = 'node/nod_' || replace(b.node_id::text, '-', '')
              and f.id = 'build/bld_' || replace(b.id::text, '-', ''))
         union all
         select n.name || ' still has a container or an image of ' || s.name
         from doomed s join nodes n on s.id = any(n.services)
         union all
         select n.name || ' has not said yet what it keeps of ' || s.name
         from doomed s join nodes n on n.services is null
         where exists (select 1 from instance i where i.service_id = s.id and i.node_id = n.id)
         union all
         select n.name || ' still has the network of ' || e.name
         from environment e join nodes n on e.id = any(n.environments) join project p on p.id = e.project_id
         where (e.deleted_at is not null or p.deleted_at is not null) and $1 in (e.id, p.id)"
    ))
    .bind(subject)
    .fetch_all(tx.executor())
    .await?)
}

/// Removes some of what has ended: of each kind at most so many rows. How many there were of the kind that had most.
pub async fn delete_history(tx: &mut SystemTx, subject: Uuid, limit: i64) -> Result<u64, Error> {
    let mut most = 0;
    for statement in [
        with_services!(
            ", gone as (
                delete from deployment where id in (
                    select d.id from doomed s join deployment d on d.service_id = s.id limit $2) returning id
             ), counted as (delete from edge_request_count where deployment_id in (select id from gone))
             select count(*) from gone"
        ),
        with_services!(
            ", gone as (
                delete from release where id in (
                    select r.id from doomed s join release r on r.service_id = s.id limit $2) returning id
             ) select count(*) from gone"
        ),
        with_services!(
            ", gone as (
                delete from build where id in (
                    select b.id from doomed s join build b on b.organization_id = s.organization_id
                        and b.service_id = s.id limit $2) returning id
             ) select count(*) from gone"
        ),
    ] {
        let gone: i64 = sqlx::query_scalar(statement)
            .bind(subject)
            .bind(limit)
            .fetch_one(tx.executor())
            .await?;
        most = most.max(gone.unsigned_abs());
    }
    Ok(most)
}

/// Removes every row that is left, from the leaves up.
pub async fn delete_rows(tx: &mut SystemTx, subject: Uuid) -> Result<(), Error> {
    let of_services = [
        with_services!("delete from instance where service_id in (select id from doomed)"),
        with_services!("delete from orphan_instance where service_id in (select id from doomed)"),
        with_services!("delete from evaluation where service_id in (select id from doomed)"),
        with_services!("delete from archive where service_id in (select id from doomed)"),
        with_services!("delete from domain where service_id in (select id from doomed)"),
        with_services!("delete from variable where service_id in (select id from doomed)"),
        with_services!("delete from service where id in (select id from doomed)"),
    ];
    let around = [
        "delete from variable where environment_id in (
            select e.id from environment e join project p on p.id = e.project_id
            where (e.deleted_at is not null or p.deleted_at is not null) and $1 in (e.id, p.id))",
        "delete from environment e using project p where p.id = e.project_id
            and (e.deleted_at is not null or p.deleted_at is not null) and $1 in (e.id, p.id)",
        "delete from deploy_key where project_id in (select id from project where deleted_at is not null and id = $1)",
        "delete from project where deleted_at is not null and id = $1",
    ];
    for statement in of_services.into_iter().chain(around) {
        sqlx::query(statement)
            .bind(subject)
            .execute(tx.executor())
            .await?;
    }
    Ok(())
}
