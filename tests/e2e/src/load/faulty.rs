//! The load against a server that does whatever a request fails by, and against one that is well: each kind of
//! request must see it, whatever else it sees.

use std::{convert::Infallible, slice, sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{
        State,
        ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade},
    },
    http::{StatusCode, header::CONTENT_LENGTH},
    response::{IntoResponse as _, Response},
    routing::{any, get, post},
};
use futures::{StreamExt as _, future::ready, stream};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use rustls::{ServerConfig, crypto::aws_lc_rs};
use testkit::{chaos_proxy::ChaosProxy, pki::Pki};
use tokio::{
    net::TcpListener,
    sync::watch,
    task::{JoinHandle, JoinSet, yield_now},
};
use tokio_rustls::TlsAcceptor;

use super::{Kind, Load, Rate, Summary, Verdict, Violation, judge, kind::Pool};
use crate::edge::Edge;

const SOON: Duration = Duration::from_secs(20);
const HTTP: [Kind; 4] = [Kind::Get1, Kind::Get2, Kind::Post1Mib, Kind::Stream20s];

/// How the application and the edge before it behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Behaviour {
    Well,
    /// 502, as an edge without an instance.
    BadGateway,
    /// 500, by the application.
    Broken,
    /// The body ends before the length that its head says; a WebSocket without a close frame.
    Truncated,
    /// A body without a length ends in good order, but too early.
    Early,
    /// Nothing comes after the request.
    Hung,
    /// A WebSocket is closed with this code instead of an echo.
    Closing(u16),
}

#[derive(Clone)]
struct App {
    behaviour: Behaviour,
    asked: watch::Sender<usize>,
}

/// It is reached through a proxy that can break connections.
struct Server {
    edge: Edge,
    asked: watch::Receiver<usize>,
    proxy: ChaosProxy,
    serving: JoinHandle<()>,
}

impl Server {
    async fn start(behaviour: Behaviour) -> Self {
        // Err: another test has installed it.
        let _ = aws_lc_rs::default_provider().install_default();
        let pki = Pki::new();
        let (chain, key) = pki.server();
        let mut tls = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let asked = watch::Sender::new(0);
        let app = App {
            behaviour,
            asked: asked.clone(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = ChaosProxy::start(listener.local_addr().unwrap())
            .await
            .unwrap();
        Self {
            edge: Edge::new(proxy.address, "127.0.0.1", &pki.pem()).unwrap(),
            asked: asked.subscribe(),
            proxy,
            serving: tokio::spawn(serve(listener, tls, router(app))),
        }
    }

    /// Load of this kind until something was asked of it; then this happens, and what has begun comes to its end.
    async fn under(mut self, kind: Kind, then: impl FnOnce(&Self)) -> Summary {
        let rate = Rate {
            kind,
            per_second: 1.0,
        };
        let load = Load::start(slice::from_ref(&self.edge), &[rate]);
        let asked = self.asked.wait_for(|asked| *asked > 0);
        tokio::time::timeout(SOON, asked).await.unwrap().unwrap();
        then(&self);
        load.stop().await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn router(app: App) -> Router {
    Router::new()
        .route("/", get(|State(app): State<App>| app.answer("well\n")))
        .route("/echo", post(echo))
        .route(
            "/stream",
            get(|State(app): State<App>| app.answer("0\nend\n")),
        )
        .route("/ws", any(web_socket))
        .with_state(app)
}

async fn echo(State(app): State<App>, body: Bytes) -> Response {
    let length = body.len().to_string();
    app.answer(&length).await
}

async fn web_socket(State(app): State<App>, upgrade: WebSocketUpgrade) -> Response {
    match app.behaviour {
        Behaviour::Well | Behaviour::Truncated | Behaviour::Closing(_) => {
            upgrade.on_upgrade(move |socket| converse(app, socket))
        }
        _ => app.answer("").await,
    }
}

async fn converse(app: App, mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        app.asked.send_modify(|asked| *asked += 1);
        let answer = match app.behaviour {
            Behaviour::Truncated => return,
            Behaviour::Closing(code) => Message::Close(Some(CloseFrame {
                code,
                reason: "".into(),
            })),
            _ => message,
        };
        if socket.send(answer).await.is_err() {
            return;
        }
    }
}

impl App {
    async fn answer(self, well: &str) -> Response {
        self.asked.send_modify(|asked| *asked += 1);
        let whole = well.to_owned();
        match self.behaviour {
            Behaviour::Well | Behaviour::Closing(_) => whole.into_response(),
            Behaviour::BadGateway => {
                let by_edge = [("x-railhead-error", "no_instance")];
                (StatusCode::BAD_GATEWAY, by_edge, whole).into_response()
            }
            Behaviour::Broken => (StatusCode::INTERNAL_SERVER_ERROR, whole).into_response(),
            Behaviour::Truncated => {
                let length = [(CONTENT_LENGTH, "100")];
                (length, piece("half")).into_response()
            }
            Behaviour::Early => piece("0\n").into_response(),
            Behaviour::Hung => std::future::pending().await,
        }
    }
}

/// Its end comes when its beginning is on its way.
fn piece(text: &'static str) -> Body {
    let end = stream::once(yield_now()).filter_map(|()| ready(None));
    Body::from_stream(stream::iter([Ok::<_, Infallible>(text)]).chain(end))
}

/// As an edge does: HTTP of both versions over TLS, and WebSockets.
async fn serve(listener: TcpListener, tls: ServerConfig, router: Router) {
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let mut connections = JoinSet::new();
    while let Ok((tcp, _)) = listener.accept().await {
        let (acceptor, router) = (acceptor.clone(), router.clone());
        connections.spawn(async move {
            let tls = TokioIo::new(acceptor.accept(tcp).await?);
            let builder = auto::Builder::new(TokioExecutor::new());
            let service = TowerToHyperService::new(router);
            builder.serve_connection_with_upgrades(tls, service).await
        });
    }
}

/// The only reason for which requests failed; each of them did.
fn reason(summary: &Summary, kind: Kind) -> String {
    match judge(summary, 1) {
        Verdict::Fail(wrong) => match wrong.as_slice() {
            [
                Violation::RequestFailed {
                    kind: failed,
                    reason,
                    count,
                    ..
                },
            ] => {
                assert_eq!((*failed, *count), (kind, summary.records.len()));
                reason.clone()
            }
            _ => panic!("{kind:?}: {wrong:?}"),
        },
        verdict => panic!("{kind:?}: {verdict}"),
    }
}

async fn assert_fails_by(behaviour: Behaviour, kinds: &[Kind], why: &str) {
    for kind in kinds {
        let server = Server::start(behaviour).await;
        let said = reason(&server.under(*kind, |_| {}).await, *kind);
        assert!(said.contains(why), "{behaviour:?} {kind:?}: {said}");
    }
}

#[tokio::test]
async fn what_is_well_is_not_failed() {
    for kind in Kind::ALL {
        let server = Server::start(Behaviour::Well).await;
        let summary = server.under(kind, |_| {}).await;
        assert_eq!(judge(&summary, 1), Verdict::Pass, "{kind:?}");
    }
}

#[tokio::test]
async fn an_answer_of_the_edges_own_is_a_failed_request() {
    assert_fails_by(Behaviour::BadGateway, &HTTP, "no_instance").await;
    assert_fails_by(Behaviour::BadGateway, &[Kind::WebSocket], "502").await;
}

#[tokio::test]
async fn an_answer_that_is_no_success_is_a_failed_request() {
    assert_fails_by(Behaviour::Broken, &Kind::ALL, "500").await;
}

#[tokio::test]
async fn an_answer_that_is_not_whole_is_a_failed_request() {
    for (behaviour, kind, why) in [
        (Behaviour::Truncated, Kind::Get1, "a short body"),
        (Behaviour::Truncated, Kind::Get2, "a short body"),
        (Behaviour::Truncated, Kind::Post1Mib, "a short body"),
        (Behaviour::Truncated, Kind::Stream20s, "cut in mid-stream"),
        (Behaviour::Truncated, Kind::WebSocket, "instead of an echo"),
        (Behaviour::Early, Kind::Post1Mib, "the application says"),
        (Behaviour::Early, Kind::Stream20s, "the stream ended early"),
    ] {
        assert_fails_by(behaviour, &[kind], why).await;
    }
}

#[tokio::test]
async fn a_web_socket_may_end_with_its_edge_and_by_nothing_else() {
    for code in [1001, 1012] {
        let server = Server::start(Behaviour::Closing(code)).await;
        let summary = server.under(Kind::WebSocket, |_| {}).await;
        assert_eq!(judge(&summary, 1), Verdict::Pass, "{code}");
    }
    let other = Behaviour::Closing(1011);
    assert_fails_by(other, &[Kind::WebSocket], "the WebSocket ended with").await;
}

#[tokio::test]
async fn a_connection_that_is_reset_is_a_failed_request() {
    for kind in Kind::ALL {
        let server = Server::start(Behaviour::Hung).await;
        let summary = server.under(kind, |server| server.proxy.reset()).await;
        let said = reason(&summary, kind);
        assert!(said.contains("reset"), "{kind:?}: {said}");
    }
}

#[tokio::test]
async fn a_connection_that_is_refused_is_a_failed_request() {
    for kind in Kind::ALL {
        let server = Server::start(Behaviour::Well).await;
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut nobody = server.edge.clone();
        nobody.address = free.local_addr().unwrap();
        drop(free);
        let (_stop, stopped) = watch::channel(false);
        let record = Pool::new(Arc::new(nobody), kind).request(stopped).await;
        let records = vec![record];
        let said = reason(&Summary { records }, kind);
        assert!(said.contains("connecting"), "{kind:?}: {said}");
    }
}

/// Ten seconds pass at once as soon as everybody waits.
#[tokio::test]
async fn an_answer_that_does_not_come_is_a_failed_request() {
    for kind in Kind::ALL {
        let server = Server::start(Behaviour::Hung).await;
        let summary = server.under(kind, |_| tokio::time::pause()).await;
        tokio::time::resume();
        let said = reason(&summary, kind);
        assert!(said.contains("within 10 s"), "{kind:?}: {said}");
    }
}
