//! The control plane's node API as far as nodes see it, in memory.

use domain::ring::Ring;
use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    body::Body,
    extract::{Query, Request, State},
    http::{HeaderMap, StatusCode},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use domain::generation::Position;
use link::Link;
use protocol::{
    PROTOCOL, PROTOCOL_HEADER, RETRY_AFTER_MS_HEADER,
    feed::FeedName,
    join::{Identity, JoinRequest, RenewRequest, Role, SpiffeId},
    join_token::JoinToken,
    report::{Report, ReportAnswer},
};
use rustls::{
    DigitallySignedStruct, DistinguishedName, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::aws_lc_rs,
    server::danger::{ClientCertVerified, ClientCertVerifier},
};
use rustls_pki_types::{CertificateDer, UnixTime};
use serde::Deserialize;
use testkit::{
    https,
    pki::join_token,
    publisher::{Change, Publisher},
};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tokio_stream::wrappers::ReceiverStream;

use super::pki::{Life, Pki};

const DESIRED: &str = "/node/v1/desired";

/// What a test may look at and change.
pub struct Shared {
    pub pki: Pki,
    pub publisher: Mutex<Publisher>,
    pub spiffe_id: SpiffeId,
    pub life: Mutex<Life>,
    /// Queries and commits headers of each stream that was opened.
    pub streams: Mutex<Vec<(Wanted, Option<String>)>>,
    pub reports: mpsc::Sender<Report>,
    pub answer: Mutex<ReportAnswer>,
    /// The only version of the protocol that is served, except to who renews.
    pub spoken: Mutex<u32>,
    /// When who asked for what in another version.
    pub unspoken: Mutex<Vec<(Instant, String)>>,
    /// Told once to who opens a feed: come back then.
    pub turn: Mutex<Option<Duration>>,
    /// Lines sent to open streams as they are.
    raw: watch::Sender<VecDeque<String>>,
    feed_keys: Vec<String>,
}

#[derive(Debug, Clone, Deserialize, PartialEq)]
pub struct Wanted {
    pub feed: FeedName,
    pub epoch: Option<i64>,
    pub after: Option<i64>,
}

pub struct ControlPlane {
    pub address: SocketAddr,
    pub shared: Arc<Shared>,
    pub reports: mpsc::Receiver<Report>,
    pub serving: JoinHandle<()>,
}

impl ControlPlane {
    pub async fn start(role: Role) -> Self {
        let (sender, reports) = mpsc::channel(1_000);
        let key = protocol::feed::signature::Signer::generate_pkcs8().unwrap();
        let publisher = Publisher::new(FeedName::GlobalRoutes(Ring::All), &key);
        let shared = Arc::new(Shared {
            pki: Pki::new(),
            feed_keys: vec![publisher.public_key()],
            publisher: Mutex::new(publisher),
            spiffe_id: super::pki::spiffe_id(role),
            life: Mutex::new(Life::FRESH),
            streams: Mutex::default(),
            reports: sender,
            answer: Mutex::new(ReportAnswer {
                ring: None,
                interval_ms: 60_000,
                feeds: [].into(),
                release: [].into(),
            }),
            spoken: Mutex::new(PROTOCOL),
            unspoken: Mutex::default(),
            turn: Mutex::default(),
            raw: watch::Sender::default(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(serve(listener, shared.clone()));
        Self {
            address,
            shared,
            reports,
            serving,
        }
    }

    pub fn token(&self) -> JoinToken {
        join_token(self.shared.pki.sha256())
    }

    /// A node's configuration, with a token, in this folder, reaching us at `address`.
    pub fn config(&self, dir: &std::path::Path, address: SocketAddr) -> link::Config {
        let token_file = dir.join("token");
        std::fs::write(&token_file, self.token().to_string()).unwrap();
        link::Config {
            control_plane: format!("https://{address}").parse().unwrap(),
            name: "us-east-1".parse().unwrap(),
            role: self.shared.spiffe_id.role,
            state_dir: dir.join("state"),
            node_key_file: None,
            join_token_file: Some(token_file),
        }
    }

    pub async fn join(&self, dir: &std::path::Path) -> Link {
        Link::open(self.config(dir, self.address)).await.unwrap()
    }

    /// Publishes, and sends the difference to the open streams.
    pub fn publish(&self, change: Change) {
        let lines = self.shared.publisher.lock().unwrap().publish(change);
        self.send(lines);
    }

    /// Sends lines to the open streams as they are.
    pub fn send(&self, lines: String) {
        self.shared.raw.send_modify(|sent| sent.push_back(lines));
    }

    pub fn position(&self) -> Position {
        self.shared.publisher.lock().unwrap().position
    }

    /// When feeds were asked for in another version than is spoken.
    pub fn refused_feeds(&self) -> Vec<Instant> {
        let unspoken = self.shared.unspoken.lock().unwrap();
        let feeds = unspoken.iter().filter(|(_, path)| path == DESIRED);
        feeds.map(|(at, _)| *at).collect()
    }

    pub fn streams(&self) -> Vec<(Wanted, Option<String>)> {
        self.shared.streams.lock().unwrap().clone()
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let (chain, key) = shared.pki.server();
    let mut config =
        rustls::ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_client_cert_verifier(Arc::new(AnyNode))
            .with_single_cert(chain, key)
            .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let router = Router::new()
        .route("/node/v1/join", post(join))
        .route(DESIRED, get(desired))
        .route("/node/v1/report", post(report))
        .route("/node/v1/archives/{id}", get(|| async { "an archive" }))
        .layer(from_fn_with_state(shared.clone(), in_our_version))
        .route("/node/v1/renew", post(renew))
        .with_state(shared);
    https::serve(listener, config, router).await;
}

/// As the control plane answers who speaks another one.
async fn in_our_version(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Response {
    let ours = *shared.spoken.lock().unwrap();
    let theirs = request.headers()[PROTOCOL_HEADER].to_str().unwrap();
    if theirs == ours.to_string() {
        return next.run(request).await;
    }
    let asked = (Instant::now(), request.uri().path().to_owned());
    shared.unspoken.lock().unwrap().push(asked);
    let problem = serde_json::json!({
        "title": "Upgrade Required", "status": 426, "code": "protocol_unsupported",
        "detail": format!("protocol version {theirs} is not spoken here, but {ours} to {ours}: update the node"),
    });
    (StatusCode::UPGRADE_REQUIRED, Json(problem)).into_response()
}

async fn join(State(shared): State<Arc<Shared>>, Json(request): Json<JoinRequest>) -> Response {
    if !request.token.starts_with("rhj_") || request.name.as_str() == "refused" {
        let problem = serde_json::json!({
            "title": "Used token", "status": 401, "code": "join_token_used", "detail": "make a new token",
        });
        return (StatusCode::UNAUTHORIZED, Json(problem)).into_response();
    }
    Json(identity(&shared, &request.csr)).into_response()
}

async fn renew(
    State(shared): State<Arc<Shared>>,
    Json(request): Json<RenewRequest>,
) -> Json<Identity> {
    Json(identity(&shared, &request.csr))
}

fn identity(shared: &Shared, csr: &str) -> Identity {
    let id = &shared.spiffe_id;
    Identity {
        node_id: id.node_id,
        region: id.region.clone(),
        role: id.role,
        certificate: shared.pki.node(csr, id, *shared.life.lock().unwrap()),
        ca: shared.pki.pem(),
        feed_keys: shared.feed_keys.clone(),
    }
}

async fn desired(
    State(shared): State<Arc<Shared>>,
    Query(wanted): Query<Wanted>,
    headers: HeaderMap,
) -> Response {
    let turn = shared.turn.lock().unwrap().take();
    if let Some(turn) = turn {
        let wait = [(RETRY_AFTER_MS_HEADER, turn.as_millis().to_string())];
        return (StatusCode::SERVICE_UNAVAILABLE, wait).into_response();
    }
    let shown = headers
        .get("railhead-commits")
        .map(|value| value.to_str().unwrap().to_owned());
    let (sender, receiver) = mpsc::channel::<Result<String, std::io::Error>>(64);
    let mut raw = shared.raw.subscribe();
    let mut sent = raw.borrow_and_update().len();
    let first = {
        let publisher = shared.publisher.lock().unwrap();
        let is_current = wanted.epoch == Some(publisher.position.epoch.0)
            && wanted.after == Some(publisher.position.generation.0);
        if is_current {
            protocol::feed::writer::idle().to_owned()
        } else {
            publisher.full(Change::default())
        }
    };
    shared.streams.lock().unwrap().push((wanted, shown));
    tokio::spawn(async move {
        let mut next = Some(first);
        loop {
            if let Some(lines) = next.take()
                && sender.send(Ok(lines)).await.is_err()
            {
                return;
            }
            let waiting = raw.borrow_and_update().get(sent).cloned();
            match waiting {
                Some(lines) => {
                    sent += 1;
                    next = Some(lines);
                }
                None => tokio::select! {
                    changed = raw.changed() => if changed.is_err() { return },
                    () = sender.closed() => return,
                },
            }
        }
    });
    Body::from_stream(ReceiverStream::new(receiver)).into_response()
}

async fn report(
    State(shared): State<Arc<Shared>>,
    Json(report): Json<Report>,
) -> Json<ReportAnswer> {
    shared.reports.try_send(report).unwrap();
    Json(shared.answer.lock().unwrap().clone())
}

/// Whom the control plane lets in is its own affair and tested there.
#[derive(Debug)]
struct AnyNode;

impl ClientCertVerifier for AnyNode {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.3 only".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
