//! An authority for what Pebble does not do: renewal windows (RFC 9773), profiles, and refusals for too much. It believes
//! whoever asks, and checks no signature: that is what Pebble is for.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::SystemTime,
};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use chrono::{DateTime, TimeDelta, Utc};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, IsCa, Issuer,
    KeyPair,
};
use rustls_pki_types::{CertificateSigningRequestDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use testkit::https;
use tokio::{net::TcpListener, task::JoinSet};

/// How long what it issues lives.
const LIFE: std::time::Duration = std::time::Duration::from_secs(6 * 86_400);

/// What it was asked for, and what it shall say.
#[derive(Default)]
pub struct Script {
    /// The payloads of orders.
    pub orders: Vec<Value>,
    /// How long ago the certificates began that it gives out.
    pub age: TimeDelta,
    /// When each certificate is to be renewed.
    pub window: Option<(DateTime<Utc>, DateTime<Utc>)>,
    /// Refuses orders for this hostname, with this status, and asks for so many seconds of patience.
    refused: Option<(String, u16, u64)>,
    /// Does not know the account that asks, until another one is made.
    forgotten: bool,
    /// Fails so often before it gives a certificate out.
    stumbles: u32,
    chains: Vec<Option<String>>,
}

pub struct Stub {
    pub script: Arc<Mutex<Script>>,
    address: SocketAddr,
    directory: tempfile::TempDir,
    _server: JoinSet<()>,
}

#[derive(Clone)]
struct Shared {
    script: Arc<Mutex<Script>>,
    issuer: Arc<Issuer<'static, KeyPair>>,
    base: String,
}

impl Stub {
    pub async fn start() -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let directory = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let key = KeyPair::generate().unwrap();
        let server = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        let server = server.self_signed(&key).unwrap();
        std::fs::write(directory.path().join("root.pem"), server.pem()).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let tls = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![server.der().clone()], key)
            .unwrap();
        let script = Arc::<Mutex<Script>>::default();
        let shared = Shared {
            script: Arc::clone(&script),
            issuer: Arc::new(issuer()),
            base: format!("https://{address}"),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(https::serve(listener, tls, router(shared)));
        Self {
            script,
            address,
            directory,
            _server: tasks,
        }
    }

    fn root(&self) -> PathBuf {
        self.directory.path().join("root.pem")
    }

    /// A table of the control plane's configuration file.
    pub fn configuration(&self, profile: &str) -> String {
        format!(
            "[[certificates.authorities]]\nname = \"stub\"\ndirectory = \"https://{}/directory\"\n\
             root_file = \"{}\"\nterms_of_service_agreed = true\nprofile = \"{profile}\"\n",
            self.address,
            self.root().display(),
        )
    }

    pub fn refuse(&self, hostname: &str, status: u16, seconds: u64) {
        self.script.lock().unwrap().refused = Some((hostname.to_owned(), status, seconds));
    }

    pub fn forget_accounts(&self) {
        self.script.lock().unwrap().forgotten = true;
    }

    /// It fails so often when it is asked for a certificate that it has made.
    pub fn stumble(&self, times: u32) {
        self.script.lock().unwrap().stumbles = times;
    }

    pub fn stumbles_left(&self) -> u32 {
        self.script.lock().unwrap().stumbles
    }

    /// Those that were placed.
    pub fn orders(&self) -> Vec<Value> {
        self.script.lock().unwrap().orders.clone()
    }
}

fn issuer() -> Issuer<'static, KeyPair> {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "stub");
    Issuer::new(params, key)
}

fn router(shared: Shared) -> Router {
    Router::new()
        .route("/directory", get(directory))
        .route("/nonce", get(nonce))
        .route("/account", post(account))
        .route("/order", post(new_order))
        .route("/order/{n}", post(order))
        .route("/authorization/{n}", post(authorization))
        .route("/challenge/{n}", post(challenge))
        .route("/finalize/{n}", post(finalize))
        .route("/certificate/{n}", post(certificate))
        .route("/renewal/{id}", get(renewal))
        .with_state(shared)
}

/// With a nonce, as every answer has one.
fn answer(status: StatusCode, location: Option<String>, body: impl IntoResponse) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert("replay-nonce", HeaderValue::from_static("bm9uY2U"));
    if let Some(location) = location {
        headers.insert("location", location.parse().unwrap());
    }
    (status, headers, body).into_response()
}

fn payload(body: &str) -> Value {
    let jws: Value = serde_json::from_str(body).unwrap();
    let payload = jws["payload"].as_str().unwrap_or_default();
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(payload).unwrap();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

async fn directory(State(shared): State<Shared>) -> Response {
    let at = |path: &str| format!("{}/{path}", shared.base);
    let directory = json!({
        "newNonce": at("nonce"),
        "newAccount": at("account"),
        "newOrder": at("order"),
        "revokeCert": at("revoke"),
        "keyChange": at("key"),
        "renewalInfo": at("renewal"),
        "meta": { "profiles": { "shortlived": "six days" } },
    });
    answer(StatusCode::OK, None, Json(directory))
}

async fn nonce() -> Response {
    answer(StatusCode::OK, None, ())
}

async fn account(State(shared): State<Shared>) -> Response {
    shared.script.lock().unwrap().forgotten = false;
    let location = format!("{}/account/1", shared.base);
    answer(
        StatusCode::CREATED,
        Some(location),
        Json(json!({ "status": "valid" })),
    )
}

fn problem(status: StatusCode, kind: &str, detail: &str) -> Response {
    let problem = json!({
        "type": format!("urn:ietf:params:acme:error:{kind}"),
        "detail": detail,
        "status": status.as_u16(),
    });
    answer(status, None, Json(problem))
}

async fn new_order(State(shared): State<Shared>, body: String) -> Response {
    let wanted = payload(&body);
    let mut script = shared.script.lock().unwrap();
    if script.forgotten {
        let gone = StatusCode::BAD_REQUEST;
        return problem(gone, "accountDoesNotExist", "no such account");
    }
    if let Some((hostname, status, seconds)) = &script.refused
        && wanted["identifiers"][0]["value"] == hostname.as_str()
    {
        let kind = if *status == 429 {
            "rateLimited"
        } else {
            "serverInternal"
        };
        let mut refused = problem(StatusCode::from_u16(*status).unwrap(), kind, "not today");
        refused
            .headers_mut()
            .insert("retry-after", (*seconds).into());
        return refused;
    }
    if wanted["profile"] != "shortlived" {
        return problem(StatusCode::BAD_REQUEST, "invalidProfile", "no such profile");
    }
    script.orders.push(wanted);
    script.chains.push(None);
    let n = script.orders.len() - 1;
    let location = format!("{}/order/{n}", shared.base);
    answer(
        StatusCode::CREATED,
        Some(location),
        Json(state(&shared.base, &script, n)),
    )
}

/// Proven from the beginning, as a hostname is that was proven lately.
fn state(base: &str, script: &Script, n: usize) -> Value {
    let wanted = &script.orders[n];
    let is_issued = script.chains[n].is_some();
    let mut state = json!({
        "status": if is_issued { "valid" } else { "ready" },
        "identifiers": wanted["identifiers"],
        "authorizations": [format!("{base}/authorization/{n}")],
        "finalize": format!("{base}/finalize/{n}"),
        "profile": wanted["profile"],
    });
    if let Some(replaces) = wanted.get("replaces") {
        state["replaces"] = replaces.clone();
    }
    if is_issued {
        state["certificate"] = format!("{base}/certificate/{n}").into();
    }
    state
}

async fn order(State(shared): State<Shared>, Path(n): Path<usize>) -> Response {
    let script = shared.script.lock().unwrap();
    answer(StatusCode::OK, None, Json(state(&shared.base, &script, n)))
}

async fn authorization(State(shared): State<Shared>, Path(n): Path<usize>) -> Response {
    let script = shared.script.lock().unwrap();
    let authorization = json!({
        "status": "valid",
        "identifier": script.orders[n]["identifiers"][0],
        "challenges": [],
    });
    answer(StatusCode::OK, None, Json(authorization))
}

async fn challenge() -> Response {
    problem(
        StatusCode::BAD_REQUEST,
        "malformed",
        "nothing is to be proven",
    )
}

async fn finalize(State(shared): State<Shared>, Path(n): Path<usize>, body: String) -> Response {
    let csr = payload(&body);
    let csr = BASE64_URL_SAFE_NO_PAD
        .decode(csr["csr"].as_str().unwrap())
        .unwrap();
    let csr = CertificateSigningRequestDer::from(csr);
    let mut request = CertificateSigningRequestParams::from_der(&csr).unwrap();
    let mut script = shared.script.lock().unwrap();
    let begin = SystemTime::from(Utc::now() - script.age);
    request.params.not_before = begin.into();
    request.params.not_after = (begin + LIFE).into();
    request.params.use_authority_key_identifier_extension = true;
    let issued = request.signed_by(&shared.issuer).unwrap().pem();
    script.chains[n] = Some(issued);
    answer(StatusCode::OK, None, Json(state(&shared.base, &script, n)))
}

async fn certificate(State(shared): State<Shared>, Path(n): Path<usize>) -> Response {
    let mut script = shared.script.lock().unwrap();
    if script.stumbles > 0 {
        script.stumbles -= 1;
        return problem(
            StatusCode::INTERNAL_SERVER_ERROR,
            "serverInternal",
            "a hiccup",
        );
    }
    answer(StatusCode::OK, None, script.chains[n].clone().unwrap())
}

async fn renewal(State(shared): State<Shared>) -> Response {
    let Some((start, end)) = shared.script.lock().unwrap().window else {
        return problem(StatusCode::NOT_FOUND, "malformed", "no such certificate");
    };
    let window = json!({ "suggestedWindow": { "start": start, "end": end } });
    let mut told = answer(StatusCode::OK, None, Json(window));
    told.headers_mut().insert("retry-after", 21_600.into());
    told
}
