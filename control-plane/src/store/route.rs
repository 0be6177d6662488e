//! What routes are made of: a service's hostnames and the instances that edges shall use; edges,
//! agents and certificates; and since when no route leads to an instance.

use std::{collections::BTreeMap, net::SocketAddr};

use domain::{
    deployment::acknowledgement::Follower,
    generation::Position,
    id::{CertificateId, InstanceId, NodeId, ServiceId},
    instance::State,
    name::Name,
};
use protocol::{
    feed::FeedName,
    item::{AgentItem, DeniedItem, EdgeItem, Endpoint},
};
use sqlx::types::Json;
use uuid::Uuid;

use super::{
    Error,
    placement::Service,
    tx::{Access as _, SystemTx},
};

/// Where feeds stood when something changed.
pub type Positions = BTreeMap<FeedName, Position>;

/// An instance that edges shall know of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routed {
    pub region: Name,
    /// None until it is ready.
    pub endpoint: Option<Endpoint>,
    pub instance: InstanceId,
}

/// Every service that has, or may need, routes.
pub async fn services(tx: &mut SystemTx) -> Result<Vec<ServiceId>, Error> {
    let ids: Vec<Uuid> = sqlx::query_scalar(
        "select id from service where routed_deployment_id is not null order by id",
    )
    .fetch_all(tx.executor())
    .await?;
    Ok(ids.into_iter().map(Into::into).collect())
}

pub async fn hostnames(tx: &mut SystemTx, service: &Service) -> Result<Vec<String>, Error> {
    Ok(sqlx::query_scalar(
        "select hostname from domain where organization_id = $1 and service_id = $2
           and (kind = 'default' or verified_at is not null) order by kind desc, hostname",
    )
    .bind(service.organization.uuid())
    .bind(service.id.uuid())
    .fetch_all(tx.executor())
    .await?)
}

/// The instances of the routed deployment that shall stay.
pub async fn instances(tx: &mut SystemTx, service: &Service) -> Result<Vec<Routed>, Error> {
    let Some(deployment) = service.routed else {
        return Ok(Vec::new());
    };
    let rows: Vec<(Uuid, Uuid, String, i16, bool, Option<String>)> = sqlx::query_as(
        "select i.id, i.node_id, region.name, t.state, t.ready, t.address
         from instance i join instance_status t on t.instance_id = i.id join region on region.id = i.region_id
         where i.service_id = $1 and i.deployment_id = $2 and i.purpose = 'serve'
           and i.stop_cause is null and i.stopped_at is null order by i.id",
    )
    .bind(service.id.uuid())
    .bind(deployment.uuid())
    .fetch_all(tx.executor())
    .await?;
    rows.into_iter()
        .map(|(id, node, region, state, ready, address)| {
            let instance = InstanceId::from(id);
            let address = address.and_then(|address| address.parse::<SocketAddr>().ok());
            let serves = ready && state == State::Running.number();
            Ok(Routed {
                region: name(&region)?,
                endpoint: address.filter(|_| serves).map(|address| Endpoint {
                    instance_id: instance,
                    node_id: NodeId::from(node),
                    address,
                }),
                instance,
            })
        })
        .collect()
}

/// The routes that a service has now: region feeds with an item of it, and its hostnames' items.
pub async fn existing(
    tx: &mut SystemTx,
    service: ServiceId,
) -> Result<(Vec<FeedName>, Vec<String>), Error> {
    let regions: Vec<String> = sqlx::query_scalar(
        "select feed from feed_item where id = $1 and feed like 'routes/region/%' order by feed",
    )
    .bind(format!("service/{service}"))
    .fetch_all(tx.executor())
    .await?;
    let hostnames = sqlx::query_scalar(
        "select id from feed_item where feed = 'routes/global'
           and ((json::jsonb) ->> 'service_id') = $1 order by id",
    )
    .bind(service.to_string())
    .fetch_all(tx.executor())
    .await?;
    let regions = regions
        .iter()
        .map(|feed| feed.parse().map_err(|error| Error::corrupt("feed", error)))
        .collect::<Result<_, _>>()?;
    Ok((regions, hostnames))
}

/// Remembers since when no route leads to the service's other instances; those that are routed
/// (again) lose the mark.
pub async fn mark_unrouted(
    tx: &mut SystemTx,
    service: ServiceId,
    routed: &[InstanceId],
    positions: &Positions,
) -> Result<(), Error> {
    let routed: Vec<Uuid> = routed.iter().map(|id| id.uuid()).collect();
    sqlx::query(
        "update instance set unrouted = case when id = any($2) then null else $3 end,
            unrouted_at = case when id = any($2) then null else now() end
         where service_id = $1 and stopped_at is null and (unrouted is not null) = (id = any($2))",
    )
    .bind(service.uuid())
    .bind(&routed)
    .bind(Json(positions))
    .execute(tx.executor())
    .await?;
    Ok(())
}

/// Makes edges use this deployment's instances from the next routes on.
pub async fn point_to(
    tx: &mut SystemTx,
    service: ServiceId,
    deployment: Option<domain::id::DeploymentId>,
) -> Result<(), Error> {
    sqlx::query("update service set routed_deployment_id = $2 where id = $1")
        .bind(service.uuid())
        .bind(deployment.map(domain::id::DeploymentId::uuid))
        .execute(tx.executor())
        .await?;
    Ok(())
}

/// Each edge that follows one of these feeds, and whether it has applied the position.
pub async fn followers(tx: &mut SystemTx, positions: &Positions) -> Result<Vec<Follower>, Error> {
    let mut followers = Vec::new();
    for (feed, position) in positions {
        let region = match feed {
            FeedName::RegionRoutes(region) => Some(region.as_str()),
            FeedName::GlobalRoutes | FeedName::Node(_) => None,
        };
        let rows: Vec<(bool, bool)> = sqlx::query_as(
            "select coalesce((f.epoch, f.generation) >= ($2, $3), false),
                s.node_id is null or s.late_since is not null
             from node n join region on region.id = n.region_id
             left join node_feed f on f.node_id = n.id and f.feed = $1
             left join node_status s on s.node_id = n.id
             where n.role = 'edge' and n.denied_at is null and ($4::text is null or region.name = $4)",
        )
        .bind(feed.to_string())
        .bind(position.epoch.0)
        .bind(position.generation.0)
        .bind(region)
        .fetch_all(tx.executor())
        .await?;
        followers.extend(
            rows.into_iter()
                .map(|(applied, late)| Follower { applied, late }),
        );
    }
    Ok(followers)
}

/// Every welcome edge whose address is known.
pub async fn edges(tx: &mut SystemTx) -> Result<Vec<EdgeItem>, Error> {
    let rows = node_addresses(tx, "edge").await?;
    Ok(rows
        .into_iter()
        .map(|(node_id, region, forward_address)| EdgeItem {
            node_id,
            region,
            forward_address,
        })
        .collect())
}

/// Every welcome agent whose address is known, with its region.
pub async fn agents(tx: &mut SystemTx) -> Result<Vec<(Name, AgentItem)>, Error> {
    let rows = node_addresses(tx, "agent").await?;
    Ok(rows
        .into_iter()
        .map(|(node_id, region, address)| (region, AgentItem { node_id, address }))
        .collect())
}

/// Every node that an operator has expelled.
pub async fn denied(tx: &mut SystemTx) -> Result<Vec<DeniedItem>, Error> {
    let ids: Vec<Uuid> =
        sqlx::query_scalar("select id from node where denied_at is not null order by id")
            .fetch_all(tx.executor())
            .await?;
    let denied = |id: Uuid| DeniedItem { node_id: id.into() };
    Ok(ids.into_iter().map(denied).collect())
}

async fn node_addresses(
    tx: &mut SystemTx,
    role: &str,
) -> Result<Vec<(NodeId, Name, SocketAddr)>, Error> {
    let rows: Vec<(Uuid, String, Option<String>)> = sqlx::query_as(
        "select n.id, region.name, s.address from node n join region on region.id = n.region_id
         join node_status s on s.node_id = n.id
         where n.role = $1 and n.denied_at is null order by n.id",
    )
    .bind(role)
    .fetch_all(tx.executor())
    .await?;
    let mut known = Vec::new();
    for (id, region, address) in rows {
        if let Some(address) = address.and_then(|address| address.parse().ok()) {
            known.push((id.into(), name(&region)?, address));
        }
    }
    Ok(known)
}

/// Items of a feed with this prefix.
pub async fn item_ids(
    tx: &mut SystemTx,
    feed: &FeedName,
    prefix: &str,
) -> Result<Vec<String>, Error> {
    Ok(sqlx::query_scalar(
        "select id from feed_item where feed = $1 and starts_with(id, $2) order by id",
    )
    .bind(feed.to_string())
    .bind(prefix)
    .fetch_all(tx.executor())
    .await?)
}

/// Names of all regions.
pub async fn regions(tx: &mut SystemTx) -> Result<Vec<Name>, Error> {
    let names: Vec<String> = sqlx::query_scalar("select name from region order by name")
        .fetch_all(tx.executor())
        .await?;
    names.iter().map(|text| name(text)).collect()
}

/// A certificate that edges get.
pub struct Certificate {
    pub id: CertificateId,
    pub names: Vec<String>,
    pub chain_pem: String,
    pub key_version: i64,
}

pub async fn certificates(tx: &mut SystemTx) -> Result<Vec<Certificate>, Error> {
    let rows: Vec<(Uuid, Vec<String>, String, i64)> =
        sqlx::query_as("select id, names, chain_pem, key_version from certificate order by id")
            .fetch_all(tx.executor())
            .await?;
    Ok(rows
        .into_iter()
        .map(|(id, names, chain_pem, key_version)| Certificate {
            id: id.into(),
            names,
            chain_pem,
            key_version,
        })
        .collect())
}

fn name(text: &str) -> Result<Name, Error> {
    text.parse().map_err(|error| Error::corrupt("name", error))
}
