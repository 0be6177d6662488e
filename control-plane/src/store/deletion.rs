//! Removing what was deleted, once nothing of it runs.

use domain::id::{OrganizationId, ServiceId};
use uuid::Uuid;

use super::{
    Error,
    tx::{Access as _, SystemTx},
};
use crate::jobs::DeleteImages;

/// A service that was deleted, itself or with what it is in.
pub struct Service {
    pub id: ServiceId,
    pub organization: OrganizationId,
    /// No instance, build, deployment or route is left.
    pub at_rest: bool,
}

pub async fn services(tx: &mut SystemTx) -> Result<Vec<Service>, Error> {
    let rows: Vec<(Uuid, Uuid, bool)> = sqlx::query_as(
        "select s.id, s.organization_id,
            not exists (select 1 from instance i where i.service_id = s.id and i.stopped_at is null)
            and not exists (select 1 from deployment d where d.service_id = s.id and d.finished_at is null)
            and not exists (select 1 from build b where b.service_id = s.id and (b.finished_at is null
                or exists (select 1 from feed_item f where f.feed = 'node/nod_' || replace(b.node_id::text, '-', '')
                    and f.id = 'build/bld_' || replace(b.id::text, '-', ''))))
            and not exists (select 1 from feed_item f where f.feed like 'routes/%'
                and f.id = 'service/svc_' || replace(s.id::text, '-', ''))
         from service s join environment e on e.id = s.environment_id join project p on p.id = e.project_id
         where s.deleted_at is not null or e.deleted_at is not null or p.deleted_at is not null
         order by s.id",
    )
    .fetch_all(tx.executor())
    .await?;
    Ok(rows
        .into_iter()
        .map(|(id, organization, at_rest)| Service {
            id: id.into(),
            organization: organization.into(),
            at_rest,
        })
        .collect())
}

/// Removes every row of the service, and leaves a job that removes its images from the registry.
pub async fn forget_service(tx: &mut SystemTx, service: &Service) -> Result<(), Error> {
    let images = DeleteImages {
        organization_id: service.organization,
        service_id: service.id,
    };
    let payload = serde_json::to_value(images).map_err(|e| Error::corrupt("job", e))?;
    super::job::insert(tx, "registry", "delete_images", &payload).await?;
    // In the order of foreign keys.
    let statements = [
        "delete from edge_request_count where deployment_id in (select id from deployment where service_id = $1)",
        "delete from instance where service_id = $1",
        "delete from evaluation where service_id = $1",
        "delete from deployment where service_id = $1",
        "delete from release where service_id = $1",
        "delete from build where service_id = $1",
        "delete from archive where service_id = $1",
        "delete from domain where service_id = $1",
        "delete from variable where service_id = $1",
        "delete from service where id = $1",
    ];
    for statement in statements {
        sqlx::query(statement)
            .bind(service.id.uuid())
            .execute(tx.executor())
            .await?;
    }
    Ok(())
}

/// Removes deleted environments without services, and deleted projects without environments.
pub async fn forget_empty(tx: &mut SystemTx) -> Result<(), Error> {
    let statements = [
        "with doomed as (
            select e.id from environment e join project p on p.id = e.project_id
            where (e.deleted_at is not null or p.deleted_at is not null)
              and not exists (select 1 from service s where s.environment_id = e.id)
         ), variables as (delete from variable where environment_id in (select id from doomed))
         select 1",
        "delete from environment e using project p where p.id = e.project_id
           and (e.deleted_at is not null or p.deleted_at is not null)
           and not exists (select 1 from service s where s.environment_id = e.id)",
        "delete from deploy_key where project_id in (select id from project p where p.deleted_at is not null
           and not exists (select 1 from environment e where e.project_id = p.id))",
        "delete from project p where p.deleted_at is not null
           and not exists (select 1 from environment e where e.project_id = p.id)",
    ];
    for statement in statements {
        sqlx::query(statement).execute(tx.executor()).await?;
    }
    Ok(())
}
