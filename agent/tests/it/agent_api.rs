//! What edges ask an agent, over real mTLS: who gets an answer, and that no answer gives one
//! instance another's address.

use std::{net::SocketAddr, sync::Arc};

use agent::{reconcile::Observed, serve};
use domain::id::{InstanceId, ReleaseId, ServiceId};
use link::{
    identity::Identity,
    tls::{self, Peers},
};
use protocol::{agent_api::Confirmation, feed::FeedName, join::Role, report::InstanceReport};
use reqwest::StatusCode;
use serde_json::json;
use testkit::pki::{Life, Pki, spiffe_id};
use tokio::{net::TcpListener, sync::watch, task::JoinSet};

/// An agent's own API, fed with what it would have observed.
struct Agent {
    pki: Pki,
    identity: Identity,
    address: SocketAddr,
    observed: watch::Sender<Arc<Observed>>,
    _tasks: JoinSet<()>,
}

impl Agent {
    async fn start() -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let pki = Pki::new();
        let identity = pki.identity(&spiffe_id(Role::Agent), Life::FRESH);
        let edges = Peers {
            role: Some(Role::Edge),
            ..Peers::default()
        };
        let config = tls::server_config(&identity, edges).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (observed, seen) = watch::channel(Arc::new(observed(Vec::new())));
        let denied = identity.denied().clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(serve::serve(listener, config, denied, seen));
        Self {
            pki,
            identity,
            address,
            observed,
            _tasks: tasks,
        }
    }

    fn sees(&self, instances: Vec<InstanceReport>) {
        self.observed.send_replace(Arc::new(observed(instances)));
    }

    fn edge(&self, life: Life) -> Identity {
        self.pki.identity(&spiffe_id(Role::Edge), life)
    }

    /// Asks as a node would.
    async fn ask(&self, caller: &Identity, path: &str) -> reqwest::Result<reqwest::Response> {
        let agent = Peers {
            node_id: Some(self.identity.node_id()),
            ..Peers::default()
        };
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls::client_config(caller, agent).unwrap())
            .https_only(true)
            .build()?;
        let url = format!("https://{}/agent/v1/{path}", self.address);
        client.get(url).send().await
    }

    async fn confirmation(&self, instance: InstanceId) -> Option<Confirmation> {
        let edge = self.edge(Life::FRESH);
        let path = format!("instances/{instance}");
        let answer = self.ask(&edge, &path).await.unwrap();
        if answer.status() == StatusCode::NOT_FOUND {
            return None;
        }
        Some(answer.error_for_status().unwrap().json().await.unwrap())
    }

    async fn ready(&self, service: ServiceId) -> Vec<InstanceId> {
        let edge = self.edge(Life::FRESH);
        let path = format!("services/{service}/instances");
        let answer = self.ask(&edge, &path).await.unwrap();
        let all: Vec<Confirmation> = answer.error_for_status().unwrap().json().await.unwrap();
        assert!(all.iter().all(|one| one.service_id == service));
        all.into_iter().map(|one| one.instance_id).collect()
    }
}

fn observed(instances: Vec<InstanceReport>) -> Observed {
    let confirmed = instances.iter().filter_map(|instance| {
        let confirmation = Confirmation {
            instance_id: instance.id,
            service_id: instance.service_id,
            address: instance.address?,
            ready: instance.ready,
        };
        Some((instance.id, confirmation))
    });
    Observed {
        confirmations: Some(confirmed.collect()),
        complete: true,
        instances,
        ..Observed::default()
    }
}

/// An instance as the agent reports it; without a port it has no address.
fn instance(service: ServiceId, port: Option<u16>, ready: bool) -> InstanceReport {
    let address = port.map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    serde_json::from_value(json!({
        "id": InstanceId::new(), "release_id": ReleaseId::new(), "service_id": service,
        "state": if port.is_some() { "running" } else { "stopped" }, "ready": ready, "restarts": 0,
        "address": address,
    }))
    .unwrap()
}

#[tokio::test]
async fn an_instance_is_confirmed_with_its_own_address_and_no_other() {
    let agent = Agent::start().await;
    let (mine, foreign) = (ServiceId::new(), ServiceId::new());
    let (one, other) = (
        instance(mine, Some(20_001), true),
        instance(foreign, Some(20_002), true),
    );
    let stopped = instance(mine, None, false);
    let (id, address) = (one.id, one.address);
    let stopped_id = stopped.id;
    agent.sees(vec![one, other.clone(), stopped]);

    let confirmed = agent.confirmation(id).await.unwrap();
    assert_eq!(
        (confirmed.instance_id, confirmed.service_id),
        (id, mine),
        "{confirmed:?}"
    );
    assert_eq!(Some(confirmed.address), address);
    let confirmed = agent.confirmation(other.id).await.unwrap();
    assert_eq!(confirmed.service_id, foreign);
    assert_eq!(Some(confirmed.address), other.address);
    assert_eq!(agent.confirmation(stopped_id).await, None);
    assert_eq!(agent.confirmation(InstanceId::new()).await, None);
}

#[tokio::test]
async fn an_answer_is_as_new_as_what_the_agent_sees() {
    let agent = Agent::start().await;
    let service = ServiceId::new();
    let before = instance(service, Some(20_001), true);
    agent.sees(vec![before.clone()]);
    assert!(agent.confirmation(before.id).await.is_some());

    // Another service's instance has the port now.
    let after = instance(ServiceId::new(), Some(20_001), true);
    agent.sees(vec![after.clone()]);
    assert_eq!(agent.confirmation(before.id).await, None);
    let confirmed = agent.confirmation(after.id).await.unwrap();
    assert_eq!(confirmed.service_id, after.service_id);
}

#[tokio::test]
async fn only_a_services_own_ready_instances_are_named() {
    let agent = Agent::start().await;
    let (mine, foreign) = (ServiceId::new(), ServiceId::new());
    let ready = instance(mine, Some(20_001), true);
    agent.sees(vec![
        ready.clone(),
        instance(mine, Some(20_002), false),
        instance(mine, None, true),
        instance(foreign, Some(20_003), true),
    ]);
    assert_eq!(agent.ready(mine).await, [ready.id]);
    assert_eq!(agent.ready(ServiceId::new()).await, []);
}

#[tokio::test]
async fn before_the_engine_has_told_what_there_is_nobody_gets_an_answer() {
    let agent = Agent::start().await;
    let seen = instance(ServiceId::new(), Some(20_001), true);
    agent.observed.send_replace(Arc::new(Observed {
        confirmations: None,
        ..observed(vec![seen.clone()])
    }));
    let edge = agent.edge(Life::FRESH);
    for path in [
        format!("instances/{}", seen.id),
        format!("services/{}/instances", seen.service_id),
    ] {
        let answer = agent.ask(&edge, &path).await.unwrap();
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE, "{path}");
    }
}

#[tokio::test]
async fn an_expired_edge_is_answered_and_a_stranger_is_not() {
    let agent = Agent::start().await;
    let seen = instance(ServiceId::new(), Some(20_001), true);
    agent.sees(vec![seen.clone()]);
    let path = format!("instances/{}", seen.id);

    let expired = agent.edge(Life::EXPIRED);
    let answer = agent.ask(&expired, &path).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);

    let agents = agent.pki.identity(&spiffe_id(Role::Agent), Life::FRESH);
    let foreign = Pki::new().identity(&spiffe_id(Role::Edge), Life::FRESH);
    for (who, caller) in [("an agent", agents), ("a foreign CA's edge", foreign)] {
        assert!(agent.ask(&caller, &path).await.is_err(), "{who}");
    }
    let url = format!("https://{}/agent/v1/{path}", agent.address);
    let nameless = reqwest::Client::builder()
        .tls_danger_accept_invalid_certs(true)
        .build()
        .unwrap();
    assert!(nameless.get(url).send().await.is_err(), "no certificate");
}

#[tokio::test]
async fn an_expelled_edge_is_refused() {
    let agent = Agent::start().await;
    let edge = agent.edge(Life::FRESH);
    let path = format!("services/{}/instances", ServiceId::new());
    assert!(agent.ask(&edge, &path).await.is_ok());
    let feed = FeedName::Node(agent.identity.node_id());
    let denied = agent.identity.denied();
    denied.replace(&feed, [edge.node_id()].into());
    assert!(agent.ask(&edge, &path).await.is_err());
}

#[tokio::test]
async fn what_is_no_id_or_no_route_gets_a_plain_refusal() {
    let agent = Agent::start().await;
    let edge = agent.edge(Life::FRESH);
    for path in [
        "instances/x",
        "instances/..%2f..%2fetc",
        "services/x/instances",
        "nothing",
    ] {
        let answer = agent.ask(&edge, path).await.unwrap();
        assert!(answer.status().is_client_error(), "{path}: {answer:?}");
    }
}
