//! An agent as edges see it: confirms instances over mTLS.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::get,
};
use domain::id::{InstanceId, NodeId, ServiceId};
use protocol::{agent_api::Confirmation, item, join::Role};
use testkit::https;
use tokio::{net::TcpListener, task::JoinHandle};

use super::{Ca, Instance};

type Held = Arc<Mutex<HashMap<InstanceId, Confirmation>>>;

pub struct Agent {
    pub node_id: NodeId,
    pub address: SocketAddr,
    held: Held,
    task: JoinHandle<()>,
}

impl Agent {
    pub async fn start(ca: &Ca, region: &str) -> Self {
        let identity = ca.node(region, Role::Agent);
        let peers = link::tls::Peers {
            role: Some(Role::Edge),
            ..Default::default()
        };
        let tls = link::tls::server_config(&identity, peers).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let held = Held::default();
        let router = router(held.clone());
        let task = tokio::spawn(https::serve(listener, tls, router));
        Self {
            node_id: identity.node_id(),
            address,
            held,
            task,
        }
    }

    /// From now on it says: this instance holds its address.
    pub fn holds(&self, service_id: ServiceId, instance: &Instance) {
        let confirmation = Confirmation {
            instance_id: instance.spec.instance_id,
            service_id,
            address: instance.address(),
            ready: true,
        };
        self.held
            .lock()
            .unwrap()
            .insert(confirmation.instance_id, confirmation);
    }

    pub fn item(&self) -> item::RegionRouteItem {
        item::RegionRouteItem::Agent(item::AgentItem {
            node_id: self.node_id,
            address: self.address,
        })
    }

    /// Its connections are cut, too.
    pub async fn stop(&self) {
        self.task.abort();
    }
}

fn router(held: Held) -> Router {
    Router::new()
        .route("/agent/v1/instances/{id}", get(instance))
        .route("/agent/v1/services/{id}/instances", get(instances))
        .with_state(held)
}

async fn instance(
    State(held): State<Held>,
    Path(id): Path<InstanceId>,
) -> Result<Json<Confirmation>, StatusCode> {
    let held = held.lock().unwrap();
    held.get(&id)
        .copied()
        .map(Json)
        .ok_or(StatusCode::NOT_FOUND)
}

async fn instances(State(held): State<Held>, Path(id): Path<ServiceId>) -> Json<Vec<Confirmation>> {
    let held = held.lock().unwrap();
    Json(
        held.values()
            .filter(|c| c.service_id == id)
            .copied()
            .collect(),
    )
}
