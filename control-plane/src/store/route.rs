//! What routes are made of: a service's hostnames and the instances that edges shall use; edges,
//! agents and certificates; and since when no route leads to an instance.

mod follower;

pub use follower::{followers, standing};

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

use domain::{
    generation::Position,
    id::{CertificateId, InstanceId, NodeId, ServiceId},
    instance::State,
    name::Name,
    ring::Ring,
};
use protocol::{
    feed::FeedName,
    item::{AgentItem, DeniedItem, EdgeItem, Endpoint},
};
use sqlx::{FromRow, types::Json};
use uuid::Uuid;

use super::{
    Error, feed,
    placement::Service,
    tx::{Access as _, SystemTx},
};

/// Which items are the platform's own: tenants have many more, and the index `feed_item_of_platform_alone` leaves
/// them out. It serves only who asks in its words.
macro_rules! of_platform {
    () => {
        "id not like 'service/%' and id not like 'hostname/%' \
         and id not like 'instance/%' and id not like 'build/%' and id not like 'domain_certificate/%'"
    };
}

/// Where feeds stood when something changed.
pub type Positions = BTreeMap<FeedName, Position>;

/// An instance that edges shall know of, or may know of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routed {
    pub region: Name,
    /// None until it is ready.
    pub endpoint: Option<Endpoint>,
    pub instance: InstanceId,
    /// It is one of the routed deployment that shall stay; if not, nothing says that no edge uses it.
    pub stays: bool,
}

/// This moment's part of the services that have, or may need, routes: about `size` of them, another part
/// every `period`, each service in its turn.
pub async fn services_in_turn(
    tx: &mut SystemTx,
    size: i64,
    period: Duration,
) -> Result<Vec<ServiceId>, Error> {
    let ids: Vec<Uuid> = sqlx::query_scalar(
        "with part as (
            select greatest(ceil(count(*)::float8 / $1)::bigint, 1) as count,
                floor(extract(epoch from now()) / $2)::bigint as turn
            from service where routed_deployment_id is not null
         )
         select id from service, part where routed_deployment_id is not null
            and (hashtext(id::text)::bigint + 2147483648) % part.count = part.turn % part.count
         order by id",
    )
    .bind(size)
    .bind(period.as_secs_f64())
    .fetch_all(tx.executor())
    .await?;
    Ok(ids.into_iter().map(Into::into).collect())
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

#[derive(FromRow)]
struct RoutedRow {
    id: Uuid,
    node_id: Uuid,
    region: String,
    serves: bool,
    address: Option<String>,
    stays: bool,
}

/// The instances of the routed deployment that shall stay, and all others that routes may still lead to.
pub async fn instances(tx: &mut SystemTx, service: &Service) -> Result<Vec<Routed>, Error> {
    let Some(deployment) = service.routed else {
        return Ok(Vec::new());
    };
    let rows: Vec<RoutedRow> = sqlx::query_as(
        "select i.id, i.node_id, region.name as region, t.ready and t.state = $3 as serves, t.address, stays
         from instance i join instance_status t on t.instance_id = i.id join region on region.id = i.region_id
         cross join lateral (select i.deployment_id = $2 and i.stop_cause is null as stays) as plan
         where i.service_id = $1 and i.purpose = 'serve' and i.stopped_at is null
           and (stays or i.unrouted is null) order by i.id",
    )
    .bind(service.id.uuid())
    .bind(deployment.uuid())
    .bind(State::Running.number())
    .fetch_all(tx.executor())
    .await?;
    rows.into_iter().map(TryInto::try_into).collect()
}

impl TryFrom<RoutedRow> for Routed {
    type Error = Error;

    fn try_from(row: RoutedRow) -> Result<Self, Error> {
        let instance = InstanceId::from(row.id);
        let address = row.address.and_then(|address| address.parse().ok());
        Ok(Self {
            region: name(&row.region)?,
            endpoint: address.filter(|_| row.serves).map(|address| Endpoint {
                instance_id: instance,
                node_id: NodeId::from(row.node_id),
                address,
            }),
            instance,
            stays: row.stays,
        })
    }
}

/// The items that a service has in routes now, of every ring.
pub async fn existing(
    tx: &mut SystemTx,
    service: ServiceId,
) -> Result<Vec<(FeedName, String)>, Error> {
    let rows: Vec<(String, String)> = sqlx::query_as(
        "select feed, id from feed_item where id = $1 and feed like 'routes/region/%'
         union all
         select feed, id from feed_item where feed like 'routes/global%'
           and ((json::jsonb) ->> 'service_id') = $2 order by 1, 2",
    )
    .bind(crate::feed::route::service_item_id(service))
    .bind(service.to_string())
    .fetch_all(tx.executor())
    .await?;
    rows.into_iter()
        .map(|(feed, id)| Ok((feed::name_of(&feed)?, id)))
        .collect()
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

/// The time that late edges have begins now, for instances that are about to go.
pub async fn begin_late_time(tx: &mut SystemTx, service: ServiceId) -> Result<(), Error> {
    sqlx::query(
        "update instance set unrouted_at = now()
         where service_id = $1 and unrouted is not null and stop_cause is null and stopped_at is null",
    )
    .bind(service.uuid())
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

/// Every node that an operator has expelled or declared dead.
pub async fn denied(tx: &mut SystemTx) -> Result<Vec<DeniedItem>, Error> {
    let ids: Vec<Uuid> = sqlx::query_scalar(
        "select id from node where denied_at is not null or fenced_at is not null order by id",
    )
    .fetch_all(tx.executor())
    .await?;
    let denied = |id: Uuid| DeniedItem { node_id: id.into() };
    Ok(ids.into_iter().map(denied).collect())
}

/// Every welcome agent that has reported, and which nodes its feed says are expelled.
pub async fn denied_in_feeds_of_agents(
    tx: &mut SystemTx,
) -> Result<BTreeMap<NodeId, BTreeSet<String>>, Error> {
    let mut found: BTreeMap<NodeId, BTreeSet<String>> = agents(tx)
        .await?
        .into_iter()
        .map(|(_, agent)| (agent.node_id, BTreeSet::new()))
        .collect();
    let rows: Vec<(String, String)> = sqlx::query_as(
        concat!(
            "select feed, id from feed_item where starts_with(feed, 'node/') and starts_with(id, 'denied/') and ",
            of_platform!()
        ),
    )
    .fetch_all(tx.executor())
    .await?;
    for (feed, id) in rows {
        if let FeedName::Node(node) = feed::name_of(&feed)?
            && let Some(ids) = found.get_mut(&node)
        {
            ids.insert(id);
        }
    }
    Ok(found)
}

async fn node_addresses(
    tx: &mut SystemTx,
    role: &str,
) -> Result<Vec<(NodeId, Name, SocketAddr)>, Error> {
    let rows: Vec<(Uuid, String, Option<String>)> = sqlx::query_as(
        "select n.id, region.name, s.address from node n join region on region.id = n.region_id
         join node_status s on s.node_id = n.id
         where n.role = $1 and n.denied_at is null and n.fenced_at is null order by n.id",
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

/// Items of a feed with this prefix, of the platform's own.
pub async fn item_ids(
    tx: &mut SystemTx,
    feed: &FeedName,
    prefix: &str,
) -> Result<Vec<String>, Error> {
    Ok(sqlx::query_scalar(concat!(
        "select id from feed_item where feed = $1 and starts_with(id, $2) and ",
        of_platform!(),
        " order by id"
    ))
    .bind(feed.to_string())
    .bind(prefix)
    .fetch_all(tx.executor())
    .await?)
}

/// Where all routes stand.
pub async fn positions(tx: &mut SystemTx) -> Result<Positions, Error> {
    let regions = regions(tx).await?;
    let mut feeds = Vec::new();
    for ring in Ring::ORDER {
        feeds.push(FeedName::GlobalRoutes(ring));
        let of_ring = regions
            .iter()
            .map(|region| FeedName::RegionRoutes(region.clone(), ring));
        feeds.extend(of_ring);
    }
    feed::positions(tx, &feeds).await
}

/// Names of all regions.
pub async fn regions(tx: &mut SystemTx) -> Result<Vec<Name>, Error> {
    let names: Vec<String> = sqlx::query_scalar("select name from region order by name")
        .fetch_all(tx.executor())
        .await?;
    names.iter().map(|text| name(text)).collect()
}

/// A certificate that edges get.
#[derive(Debug, Clone)]
pub struct Certificate {
    pub id: CertificateId,
    pub names: Vec<String>,
    pub chain_pem: String,
    pub key_version: i64,
}

/// Those of the platform's own names.
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
