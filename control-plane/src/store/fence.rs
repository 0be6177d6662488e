//! Nodes that an operator has declared dead (docs/adr/0026): the plan goes on as if all that they ran had
//! stopped. One that comes back is told to end it, and is let in again when it says that it has.

use domain::{
    id::{InstanceId, NodeId, OrganizationId, ServiceId},
    instance::State,
};
use protocol::{feed::FeedName, report::AgentReport};
use uuid::Uuid;

use super::{
    Error, query,
    tx::{Access as _, SystemTx, Write},
};

/// Declares a silent agent's node dead; false when it is none, was expelled, or still reports.
pub async fn fence(tx: &mut impl Write, id: NodeId) -> Result<bool, Error> {
    let query = sqlx::query(
        "update node n set fenced_at = coalesce(fenced_at, now()), schedulable = false, version = version + 1
         where id = $1 and role = 'agent' and denied_at is null and not exists (
            select 1 from node_status s where s.node_id = n.id and s.late_since is null)",
    )
    .bind(id.uuid());
    query::changed(tx, query).await
}

/// An instance that was on a fenced node.
#[derive(Debug, Clone, Copy)]
pub struct Lost {
    pub organization: OrganizationId,
    pub service: ServiceId,
    pub instance: InstanceId,
}

/// Whatever fenced nodes ran shall go.
pub async fn stop_instances(tx: &mut SystemTx) -> Result<Vec<Lost>, Error> {
    let rows: Vec<(Uuid, Uuid, Uuid)> = sqlx::query_as(
        "with lost as (
            update instance i set stop_cause = 'fence' from node n
            where n.id = i.node_id and n.fenced_at is not null and i.stop_cause is null and i.stopped_at is null
            returning i.organization_id, i.service_id, i.id
         )
         select * from lost order by 1, 2, 3",
    )
    .fetch_all(tx.executor())
    .await?;
    Ok(rows
        .into_iter()
        .map(|(organization, service, instance)| Lost {
            organization: organization.into(),
            service: service.into(),
            instance: instance.into(),
        })
        .collect())
}

/// The node is back: it is let in again, cordoned, once it has applied its newest document and says that
/// nothing runs there. Whether it was.
pub async fn lift(tx: &mut SystemTx, node: NodeId, report: &AgentReport) -> Result<bool, Error> {
    let runs = |state: State| state < State::Stopped;
    if report.instances.iter().any(|instance| runs(instance.state)) {
        return Ok(false);
    }
    let query = sqlx::query(
        "update node n set fenced_at = null, version = n.version + 1
         from node_feed applied, feed newest, platform p
         where n.id = $1 and n.fenced_at is not null and newest.name = $2
           and applied.node_id = n.id and applied.feed = newest.name
           and (applied.epoch, applied.generation) >= (p.epoch, newest.generation)
           and not exists (select 1 from instance i where i.node_id = n.id and i.stopped_at is null)",
    )
    .bind(node.uuid())
    .bind(FeedName::Node(node).to_string());
    query::changed(tx, query).await
}

/// Whether a node is fenced.
pub async fn is_fenced(tx: &mut SystemTx, id: NodeId) -> Result<bool, Error> {
    let fenced = "select exists (select 1 from node where id = $1 and fenced_at is not null)";
    Ok(sqlx::query_scalar(fenced)
        .bind(id.uuid())
        .fetch_one(tx.executor())
        .await?)
}
