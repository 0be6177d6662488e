//! An edge's process that is told to end while requests run: they get to their end, nothing new begins, and then it is
//! gone.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use h2::{Reason, RecvStream, client::SendRequest};
use tokio::{net::TcpStream, task::JoinHandle};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, protocol::frame::coding::CloseCode},
};

use crate::{
    process::Platform,
    support::{Ca, DRAIN, Process, http1_only, raw_tls, tls_config, until},
};

/// What is cut at the limit gets a close frame and a moment to be read.
const CUT: Duration = Duration::from_secs(3);
/// Two seconds.
const STREAM: &str = "https://app.test/stream?pieces=20&every_ms=100";

/// A process that serves, and what it stands on.
struct Serving {
    platform: Platform,
    edge: Process,
    /// Instance's requests up to now.
    requests: usize,
    _dir: tempfile::TempDir,
}

impl Serving {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let platform = Platform::start().await;
        let control_plane = &platform.control_plane;
        let edge = Process::start(dir.path(), control_plane, Some(&control_plane.token()));
        edge.answers(control_plane.ca()).await;
        Self {
            requests: platform.instance.requests(),
            platform,
            edge,
            _dir: dir,
        }
    }

    fn ca(&self) -> &Ca {
        self.platform.control_plane.ca()
    }

    /// So many more have reached the instance.
    async fn run(&self, requests: usize) {
        until("the requests run", async || {
            self.platform.instance.requests() == self.requests + requests
        })
        .await;
    }

    async fn refuses_connections(&self) {
        until("new connections are refused", async || {
            TcpStream::connect(self.edge.https).await.is_err()
                && TcpStream::connect(self.edge.http).await.is_err()
        })
        .await;
    }

    fn stream_over_http1(&self) -> JoinHandle<String> {
        let client = http1_only(self.ca(), self.edge.https);
        tokio::spawn(async move {
            let answer = client.get(STREAM).send().await.unwrap();
            answer.text().await.unwrap()
        })
    }

    /// On a connection of its own, which can be asked for more.
    async fn stream_over_http2(&self) -> (SendRequest<Bytes>, JoinHandle<Vec<u8>>) {
        let tcp = TcpStream::connect(self.edge.https).await.unwrap();
        let tls = TlsConnector::from(tls_config(self.ca(), &["h2"]))
            .connect("app.test".try_into().unwrap(), tcp)
            .await
            .unwrap();
        let (sender, connection) = h2::client::handshake(tls).await.unwrap();
        tokio::spawn(connection);
        let mut sender: SendRequest<Bytes> = sender.ready().await.unwrap();
        let request = http::Request::get(STREAM).body(()).unwrap();
        let (answer, _) = sender.send_request(request, true).unwrap();
        let reading = tokio::spawn(async move { read(answer.await.unwrap().into_body()).await });
        (sender, reading)
    }

    async fn web_socket(&self) -> WebSocketStream<TlsStream<TcpStream>> {
        let tls = raw_tls(self.ca(), self.edge.https, "app.test")
            .await
            .unwrap();
        let connecting = tokio_tungstenite::client_async("wss://app.test/ws", tls);
        let (mut socket, _) = connecting.await.unwrap();
        echo(&mut socket, "before").await;
        socket
    }
}

async fn read(mut body: RecvStream) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece.unwrap();
        body.flow_control().release_capacity(piece.len()).unwrap();
        whole.extend_from_slice(&piece);
    }
    whole
}

async fn echo(socket: &mut WebSocketStream<TlsStream<TcpStream>>, text: &str) {
    socket.send(Message::text(text)).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text(text));
}

/// The connection was told to take its further requests elsewhere.
async fn is_told_to_go_away(sender: &SendRequest<Bytes>) {
    let mut told = None;
    until("GOAWAY comes", async || {
        told = sender.clone().ready().await.err();
        told.is_some()
    })
    .await;
    let told = told.unwrap();
    assert!(told.is_go_away() && told.is_remote(), "{told}");
    assert_eq!(told.reason(), Some(Reason::NO_ERROR), "{told}");
}

#[tokio::test]
async fn streams_end_whole_new_connections_are_refused_and_the_process_is_gone_once_nothing_runs() {
    let serving = Serving::start().await;
    let http1 = serving.stream_over_http1();
    let (sender, http2) = serving.stream_over_http2().await;
    serving.run(2).await;

    let told = Instant::now();
    serving.edge.tell_to_end();
    is_told_to_go_away(&sender).await;
    serving.refuses_connections().await;
    assert!(
        !http1.is_finished() && !http2.is_finished(),
        "the streams were cut, or an invalid run: they ended before the edge was told"
    );
    assert_eq!(http1.await.unwrap().lines().count(), 20);
    assert_eq!(
        http2.await.unwrap().split(|byte| *byte == b'\n').count(),
        21
    );
    serving.edge.ends_well().await;
    assert!(told.elapsed() < DRAIN, "{:?}", told.elapsed());
}

#[tokio::test]
async fn a_web_socket_goes_on_up_to_the_limit_and_is_closed_in_order() {
    let serving = Serving::start().await;
    let mut socket = serving.web_socket().await;

    let told = Instant::now();
    serving.edge.tell_to_end();
    serving.refuses_connections().await;
    echo(&mut socket, "after").await;
    let last = tokio::time::timeout(DRAIN + CUT, socket.next()).await;
    let Some(Ok(Message::Close(Some(frame)))) = last.unwrap() else {
        panic!("not closed in order");
    };
    assert_eq!(frame.code, CloseCode::Away);
    assert!(told.elapsed() >= DRAIN, "{:?}", told.elapsed());
    drop(socket);
    serving.edge.ends_well().await;
    assert!(told.elapsed() < DRAIN + CUT, "{:?}", told.elapsed());
}

#[tokio::test]
async fn what_does_not_come_to_its_end_is_cut_at_the_limit() {
    let serving = Serving::start().await;
    let client = http1_only(serving.ca(), serving.edge.https);
    let endless = tokio::spawn(async move {
        let url = "https://app.test/stream?pieces=600&every_ms=100";
        let answer = client.get(url).send().await.unwrap();
        answer.text().await
    });
    serving.run(1).await;

    let told = Instant::now();
    serving.edge.tell_to_end();
    let cut = endless.await.unwrap();
    assert!(
        cut.is_err(),
        "a cut answer was taken for a whole one: {cut:?}"
    );
    assert!(told.elapsed() >= DRAIN, "{:?}", told.elapsed());
    serving.edge.ends_well().await;
    assert!(told.elapsed() < DRAIN + CUT, "{:?}", told.elapsed());
}
