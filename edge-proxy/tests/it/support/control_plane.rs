//! The node API as an edge's process needs it: joining, both feeds, reports.

use std::{convert::Infallible, net::SocketAddr, sync::Arc};

use axum::{
    Json, Router,
    body::Body,
    extract::{Query, State},
    response::Response,
    routing::{get, post},
};
use bytes::Bytes;
use domain::id::NodeId;
use futures::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use protocol::{
    feed::FeedName,
    join::{Identity, JoinRequest, Role, SpiffeId},
    report::{Report, ReportAnswer},
};
use serde::Deserialize;
use testkit::{
    https,
    pki::join_token,
    publisher::{Change, Publisher},
};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

use super::{Ca, Routes};

/// What one who follows a feed is sent.
pub type Lines = BoxStream<'static, Result<Bytes, Infallible>>;

struct Shared {
    ca: Ca,
    feeds: Box<dyn Fn(FeedName) -> Lines + Send + Sync>,
    reports: watch::Sender<Option<Report>>,
}

/// Serves until dropped; dropping cuts its connections, as the end of a process does.
pub struct ControlPlane {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    serving: JoinHandle<()>,
}

impl ControlPlane {
    /// The whole document, and nothing after it.
    pub async fn start(ca: Ca, routes: Routes) -> Self {
        let key = ca.feed_key().to_vec();
        Self::sending(ca, move |feed| {
            let document = Bytes::from(document(&routes, feed, &key));
            let document = stream::once(async move { Ok(document) });
            document.chain(stream::pending()).boxed()
        })
        .await
    }

    /// Whatever the test sends.
    pub async fn sending(
        ca: Ca,
        feeds: impl Fn(FeedName) -> Lines + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            ca,
            feeds: Box::new(feeds),
            reports: watch::Sender::default(),
        });
        Self {
            address,
            serving: tokio::spawn(serve(listener, shared.clone())),
            shared,
        }
    }

    pub fn ca(&self) -> &Ca {
        &self.shared.ca
    }

    pub fn token(&self) -> String {
        join_token(self.shared.ca.sha256()).to_string()
    }

    pub fn last_report(&self) -> Option<Report> {
        self.shared.reports.borrow().clone()
    }

    pub fn stop(&self) {
        self.serving.abort();
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut tls = shared.ca.server("127.0.0.1");
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let router = Router::new()
        .route("/node/v1/join", post(join))
        .route("/node/v1/desired", get(desired))
        .route("/node/v1/report", post(report))
        .with_state(shared);
    https::serve(listener, tls, router).await;
}

async fn join(
    State(shared): State<Arc<Shared>>,
    Json(request): Json<JoinRequest>,
) -> Json<Identity> {
    let id = SpiffeId {
        trust_domain: "railhead.test".into(),
        region: "us-east".parse().unwrap(),
        role: Role::Edge,
        node_id: NodeId::new(),
    };
    Json(shared.ca.sign(&request.csr, &id))
}

#[derive(Deserialize)]
struct Wanted {
    feed: FeedName,
}

async fn desired(State(shared): State<Arc<Shared>>, Query(wanted): Query<Wanted>) -> Response {
    Response::new(Body::from_stream((shared.feeds)(wanted.feed)))
}

fn document(routes: &Routes, feed: FeedName, key: &[u8]) -> String {
    let [global, region] = routes.changes();
    let (change, secrets) = match feed {
        FeedName::GlobalRoutes(_) => (global, routes.keys()),
        _ => (region, Change::default()),
    };
    let mut publisher = Publisher::new(feed, key);
    let _ = publisher.publish(change);
    publisher.full(secrets)
}

async fn report(
    State(shared): State<Arc<Shared>>,
    Json(report): Json<Report>,
) -> Json<ReportAnswer> {
    shared.reports.send_replace(Some(report));
    Json(ReportAnswer {
        interval_ms: 500,
        feeds: [].into(),
        release: [].into(),
        ring: None,
    })
}
