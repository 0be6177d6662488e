//! An instance of an application: answers with its name, and misbehaves on demand.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{
        Query, State,
        ws::{Message, WebSocketUpgrade},
    },
    http::{HeaderMap, StatusCode, Uri},
    response::Response,
    routing::{any, get, post},
};
use domain::id::{InstanceId, NodeId};
use protocol::item;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};
use tokio_stream::StreamExt;

/// What an instance does with its health path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    Healthy,
    Unhealthy,
}

#[derive(Clone)]
struct App {
    name: &'static str,
    behaviour: watch::Sender<Behaviour>,
    requests: Arc<AtomicUsize>,
}

pub struct Instance {
    pub spec: item::Endpoint,
    app: App,
    task: JoinHandle<()>,
}

impl Instance {
    pub async fn start(name: &'static str, node_id: NodeId) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let spec = item::Endpoint {
            instance_id: InstanceId::new(),
            node_id,
            address: listener.local_addr().unwrap(),
        };
        Self::serve(name, spec, listener)
    }

    /// As the one that was killed, at its address.
    pub async fn start_again(name: &'static str, spec: item::Endpoint) -> Self {
        let listener = TcpListener::bind(spec.address).await.unwrap();
        Self::serve(name, spec, listener)
    }

    fn serve(name: &'static str, spec: item::Endpoint, listener: TcpListener) -> Self {
        let app = App {
            name,
            behaviour: watch::Sender::new(Behaviour::Healthy),
            requests: Arc::default(),
        };
        let router = router(app.clone());
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { spec, app, task }
    }

    pub fn address(&self) -> SocketAddr {
        self.spec.address
    }

    pub fn behave(&self, behaviour: Behaviour) {
        self.app.behaviour.send_replace(behaviour);
    }

    /// Requests other than probes.
    pub fn requests(&self) -> usize {
        self.app.requests.load(Ordering::Relaxed)
    }

    /// Gone: its port refuses connections.
    pub async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

fn router(app: App) -> Router {
    let count = app.requests.clone();
    Router::new()
        .route("/", get(|State(app): State<App>| async move { app.name }))
        .route(
            "/echo",
            post(|body: Bytes| async move { body.len().to_string() }),
        )
        .route("/headers", any(headers))
        .route("/stream", get(stream))
        .route("/page", get(page))
        .route("/give-back", any(give_back))
        .route("/slow", get(slow))
        .route(
            "/error",
            get(|| async { (StatusCode::INTERNAL_SERVER_ERROR, "mine") }),
        )
        .route("/ws", any(web_socket))
        .layer(axum::middleware::from_fn(
            move |request: axum::extract::Request, next: axum::middleware::Next| {
                count.fetch_add(1, Ordering::Relaxed);
                next.run(request)
            },
        ))
        .route("/health", get(health))
        .with_state(app)
}

async fn health(State(app): State<App>) -> StatusCode {
    let behaviour = *app.behaviour.borrow();
    match behaviour {
        Behaviour::Healthy => StatusCode::OK,
        Behaviour::Unhealthy => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// The request as it came, as JSON.
async fn headers(uri: Uri, headers: HeaderMap) -> axum::Json<serde_json::Value> {
    let mut all = serde_json::Map::new();
    for name in headers.keys() {
        let values: Vec<_> = headers
            .get_all(name)
            .iter()
            .map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned())
            .collect();
        all.insert(name.to_string(), values.join(" | ").into());
    }
    all.insert("_uri".into(), uri.to_string().into());
    axum::Json(all.into())
}

#[derive(serde::Deserialize)]
struct Pace {
    pieces: u32,
    every_ms: u64,
    /// `Content-Type`, if it has one.
    kind: Option<String>,
}

#[derive(serde::Deserialize)]
struct Elsewhere {
    to: String,
}

/// Gives the request back unless somebody has; says who answers, where the request was, and how long its body is.
async fn give_back(
    State(app): State<App>,
    Query(elsewhere): Query<Elsewhere>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if let Some(source) = headers.get("fly-replay-src") {
        let source = source.to_str().unwrap();
        let said = format!("{} {} {source}", app.name, body.len());
        return Response::new(Body::from(said));
    }
    let mut response = Response::new(Body::from("not here"));
    *response.status_mut() = StatusCode::CONFLICT;
    let to = elsewhere.to.parse().unwrap();
    response.headers_mut().insert("fly-replay", to);
    response
}

#[derive(serde::Deserialize)]
struct Page {
    kind: String,
    bytes: usize,
    /// `Cache-Control`.
    control: Option<String>,
}

/// The same letter again and again.
async fn page(Query(page): Query<Page>) -> Response {
    let mut response = Response::new(Body::from("a".repeat(page.bytes)));
    let headers = response.headers_mut();
    headers.insert("content-type", page.kind.parse().unwrap());
    headers.insert("etag", "\"1\"".parse().unwrap());
    if let Some(control) = page.control {
        headers.insert("cache-control", control.parse().unwrap());
    }
    response
}

async fn stream(Query(pace): Query<Pace>) -> Response {
    let ticks = tokio_stream::iter(0..pace.pieces)
        .throttle(Duration::from_millis(pace.every_ms))
        .map(|n| Ok::<_, Infallible>(format!("{n}\n")));
    let mut response = Response::new(Body::from_stream(ticks));
    if let Some(kind) = pace.kind {
        let kind = kind.parse().unwrap();
        response.headers_mut().insert("content-type", kind);
    }
    response
}

async fn slow(Query(pace): Query<Pace>) -> &'static str {
    tokio::time::sleep(Duration::from_millis(pace.every_ms)).await;
    "at last"
}

async fn web_socket(upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(|mut socket| async move {
        while let Some(Ok(message)) = socket.recv().await {
            if matches!(message, Message::Text(_)) && socket.send(message).await.is_err() {
                break;
            }
        }
    })
}

/// An instance whose connections can be cut, as SIGKILL does it.
pub struct MortalSocket {
    pub instance: Instance,
    cut: watch::Sender<bool>,
}

impl MortalSocket {
    pub async fn start(node_id: NodeId) -> Self {
        let behind = Instance::start("mortal", node_id).await;
        let address = behind.address();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut instance = behind;
        instance.spec.address = listener.local_addr().unwrap();
        let cut = watch::Sender::new(false);
        let sender = cut.clone();
        tokio::spawn(async move {
            loop {
                let (mut outer, _) = listener.accept().await.unwrap();
                let mut cut = sender.subscribe();
                tokio::spawn(async move {
                    let mut inner = tokio::net::TcpStream::connect(address).await.unwrap();
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut outer, &mut inner) => {}
                        _ = cut.wait_for(|cut| *cut) => {}
                    }
                });
            }
        });
        Self { instance, cut }
    }

    pub fn cut(&self) {
        self.cut.send_replace(true);
    }
}

/// What an instance does with requests until it behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rude {
    /// The connection ends.
    HangsUp,
    /// The connection stays.
    IsSilent,
    /// The answer's status is 500.
    Fails,
}

impl Rude {
    /// An instance that takes connections, so that it passes for a healthy one. It behaves when told so.
    pub async fn start(self, node_id: NodeId) -> Instance {
        let mut instance = Instance::start("unused", node_id).await;
        instance.behave(Behaviour::Unhealthy);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        instance.spec.address = listener.local_addr().unwrap();
        let app = instance.app.clone();
        instance.task.abort();
        instance.task = tokio::spawn(async move {
            loop {
                let (connection, _) = listener.accept().await.unwrap();
                tokio::spawn(self.treat(connection, app.clone()));
            }
        });
        instance
    }

    async fn treat(self, mut connection: TcpStream, app: App) {
        let mut head = [0; 4096];
        if !connection.read(&mut head).await.is_ok_and(|read| read > 0) {
            return;
        }
        app.requests.fetch_add(1, Ordering::Relaxed);
        let behaviour = *app.behaviour.borrow();
        let status = match (behaviour, self) {
            (Behaviour::Healthy, _) => "200 OK",
            (Behaviour::Unhealthy, Self::Fails) => "500 Internal Server Error",
            (Behaviour::Unhealthy, Self::HangsUp) => return,
            (Behaviour::Unhealthy, Self::IsSilent) => std::future::pending().await,
        };
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        let _ = connection.write_all(answer.as_bytes()).await;
    }
}
