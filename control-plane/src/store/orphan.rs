//! Instances that nodes run on although no document has them (DESIGN §5, epoch): kept in sight until
//! the service's next deployment lets them go.

use domain::id::{InstanceId, NodeId, ServiceId};
use protocol::report::InstanceReport;
use uuid::Uuid;

use super::{
    Error,
    tx::{Access as _, SystemTx},
};

/// What a node reports as orphaned, and the plan does not know: the whole of it.
pub async fn replace(
    tx: &mut SystemTx,
    node: NodeId,
    instances: &[InstanceReport],
) -> Result<(), Error> {
    let orphans = || instances.iter().filter(|instance| instance.orphaned);
    let ids: Vec<Uuid> = orphans().map(|instance| instance.id.uuid()).collect();
    let services: Vec<Uuid> = orphans()
        .map(|instance| instance.service_id.uuid())
        .collect();
    sqlx::query("delete from orphan_instance where node_id = $1 and instance_id <> all($2)")
        .bind(node.uuid())
        .bind(&ids)
        .execute(tx.executor())
        .await?;
    if ids.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "insert into orphan_instance (node_id, instance_id, service_id)
         select $1, r.id, r.service_id from unnest($2::uuid[], $3::uuid[]) as r (id, service_id)
         where not exists (select 1 from instance i where i.id = r.id)
         on conflict do nothing",
    )
    .bind(node.uuid())
    .bind(&ids)
    .bind(services)
    .execute(tx.executor())
    .await?;
    Ok(())
}

/// The orphans of a service.
pub async fn of_service(
    tx: &mut SystemTx,
    service: ServiceId,
) -> Result<Vec<(NodeId, InstanceId)>, Error> {
    let rows: Vec<(Uuid, Uuid)> = sqlx::query_as(
        "select node_id, instance_id from orphan_instance where service_id = $1 order by node_id",
    )
    .bind(service.uuid())
    .fetch_all(tx.executor())
    .await?;
    Ok(rows
        .into_iter()
        .map(|(node, instance)| (node.into(), instance.into()))
        .collect())
}
