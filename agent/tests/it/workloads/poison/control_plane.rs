//! The node API as an agent's process needs it: joining, its feed, reports.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
};

use axum::{
    Json, Router,
    body::Body,
    extract::State,
    response::Response,
    routing::{get, post},
};
use domain::id::NodeId;
use futures::StreamExt as _;
use protocol::{
    feed::{Commit, FeedName, signature::FeedKeys},
    join::{Identity, JoinRequest, Role, SpiffeId},
    report::{AgentReport, Report, ReportAnswer, RoleReport},
};
use testkit::{
    https,
    pki::{Life, Pki, join_token, spiffe_id},
    poison::{Forge, Items, Source},
};
use tokio::net::TcpListener;

struct Shared {
    pki: Pki,
    node: SpiffeId,
    feed_key: String,
    source: Mutex<Source>,
    report: Mutex<Option<Report>>,
}

/// Of one node; serves as long as the test's runtime lives.
pub struct ControlPlane {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

impl ControlPlane {
    pub async fn start(items: Items) -> Self {
        let node = spiffe_id(Role::Agent);
        let forge = Forge::new(FeedName::Node(node.node_id));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            pki: Pki::new(),
            node,
            feed_key: forge.public_key(),
            source: Mutex::new(Source::new(forge, items)),
            report: Mutex::default(),
        });
        tokio::spawn(serve(listener, Arc::clone(&shared)));
        Self { address, shared }
    }

    pub fn token(&self) -> String {
        join_token(self.shared.pki.sha256()).to_string()
    }

    pub fn node(&self) -> NodeId {
        self.shared.node.node_id
    }

    pub fn keys(&self) -> FeedKeys {
        FeedKeys::from_base64(&[&self.shared.feed_key]).unwrap()
    }

    /// The node's feed.
    pub fn source(&self) -> MutexGuard<'_, Source> {
        self.shared.source.lock().unwrap()
    }

    /// Whether the node has said that it goes by this.
    pub fn is_followed(&self, commit: &Commit) -> bool {
        let report = self.shared.report.lock().unwrap();
        let feeds = report.as_ref().map(|report| &report.feeds);
        feeds.is_some_and(|feeds| feeds.contains(commit))
    }

    /// What the node has seen last.
    pub fn seen(&self) -> Option<AgentReport> {
        let report = self.shared.report.lock().unwrap().clone()?;
        match report.role {
            RoleReport::Agent(agent) => Some(agent),
            RoleReport::Edge(_) => None,
        }
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let (chain, key) = shared.pki.server();
    let tls = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key);
    let mut tls = tls.unwrap();
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let router = Router::new()
        .route("/node/v1/join", post(join))
        .route("/node/v1/desired", get(desired))
        .route("/node/v1/report", post(report))
        .route("/node/v1/logs", post(|| async { Json(()) }))
        .with_state(shared);
    https::serve(listener, tls, router).await;
}

async fn join(
    State(shared): State<Arc<Shared>>,
    Json(request): Json<JoinRequest>,
) -> Json<Identity> {
    let node = &shared.node;
    Json(Identity {
        node_id: node.node_id,
        region: node.region.clone(),
        role: node.role,
        certificate: shared.pki.node(&request.csr, node, Life::FRESH),
        ca: shared.pki.pem(),
        feed_keys: vec![shared.feed_key.clone()],
    })
}

async fn desired(State(shared): State<Arc<Shared>>) -> Response {
    let lines = shared.source.lock().unwrap().connect();
    Response::new(Body::from_stream(lines.map(Ok::<_, Infallible>)))
}

async fn report(
    State(shared): State<Arc<Shared>>,
    Json(report): Json<Report>,
) -> Json<ReportAnswer> {
    *shared.report.lock().unwrap() = Some(report);
    Json(ReportAnswer {
        interval_ms: 500,
        feeds: [].into(),
        release: [].into(),
        ring: None,
    })
}
