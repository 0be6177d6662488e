//! With real sockets, before a server that echoes.

use std::{
    num::NonZeroU32,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::timeout,
};

use super::*;
use crate::wait;

const SOON: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_millis(200);

/// How the server's side of each connection ended.
type Ends = mpsc::Receiver<io::Result<u64>>;

async fn echo() -> (ChaosProxy, Ends) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (ended, ends) = mpsc::channel(16);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let ended = ended.clone();
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                let end = tokio::io::copy(&mut read, &mut write).await;
                ended.send(end).await
            });
        }
    });
    (ChaosProxy::start(address).await.unwrap(), ends)
}

async fn connect(proxy: &ChaosProxy) -> TcpStream {
    TcpStream::connect(proxy.address).await.unwrap()
}

async fn ping(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(b"ping").await?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).await?;
    assert_eq!(&answer, b"ping");
    Ok(())
}

async fn is_silent(stream: &mut TcpStream) -> bool {
    let mut byte = [0; 1];
    timeout(SILENCE, stream.read(&mut byte)).await.is_err()
}

#[tokio::test]
async fn bytes_and_their_end_pass_unchanged() {
    let (proxy, mut ends) = echo().await;
    let mut stream = connect(&proxy).await;
    stream.write_all(b"all there is").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "all there is");
    assert_eq!(ends.recv().await.unwrap().unwrap(), 12);
    let now = proxy.observed();
    assert_eq!(
        (now.accepted, now.bytes_to_target, now.bytes_to_client),
        (1, 12, 12)
    );
    wait::until(SOON, async || proxy.observed().open == 0).await;
}

#[tokio::test]
async fn latency_is_added_each_way_within_the_jitter_to_open_connections_too() {
    let (proxy, _ends) = echo().await;
    let mut stream = connect(&proxy).await;
    ping(&mut stream).await.unwrap();
    let ms = Duration::from_millis;
    proxy.set(Conditions::delayed(ms(50), ms(20)));
    for _ in 0..5 {
        let began = Instant::now();
        ping(&mut stream).await.unwrap();
        assert!(began.elapsed() >= ms(60), "{:?}", began.elapsed());
    }
    proxy.set(Conditions::default());
    // On a busy machine one may take longer all the same.
    wait::until(SOON, async || {
        let began = Instant::now();
        ping(&mut stream).await.unwrap();
        began.elapsed() < ms(60)
    })
    .await;
}

#[tokio::test]
async fn latency_delays_a_stream_once_and_not_each_of_its_pieces() {
    let (proxy, _ends) = echo().await;
    proxy.set(Conditions::delayed(
        Duration::from_millis(100),
        Duration::ZERO,
    ));
    let mut stream = connect(&proxy).await;
    let sent = vec![7; 512 << 10];
    let mut got = vec![0; sent.len()];
    let began = Instant::now();
    let (mut read, mut write) = stream.split();
    let (sending, receiving) = tokio::join!(write.write_all(&sent), read.read_exact(&mut got));
    sending.unwrap();
    receiving.unwrap();
    assert_eq!(got, sent);
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(200), "{took:?}");
    // 32 pieces each way: 6.4 s if they waited for one another.
    assert!(took < Duration::from_secs(3), "{took:?}");
}

#[tokio::test]
async fn no_more_passes_than_the_bandwidth_allows() {
    let (proxy, _ends) = echo().await;
    proxy.set(Conditions {
        to_client: Direction {
            bytes_per_second: NonZeroU32::new(256 << 10),
            ..Direction::default()
        },
        ..Conditions::default()
    });
    let mut stream = connect(&proxy).await;
    let mut got = vec![0; 128 << 10];
    let began = Instant::now();
    stream.write_all(&got.clone()).await.unwrap();
    stream.read_exact(&mut got).await.unwrap();
    // The last piece arrives when the line is free of those before it.
    assert!(
        began.elapsed() >= Duration::from_millis(400),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn one_way_stalls_while_the_other_goes_on() {
    let (proxy, _ends) = echo().await;
    let mut stream = connect(&proxy).await;
    let stalled = Conditions::stalled();
    proxy.set(Conditions {
        to_target: Direction::default(),
        ..stalled
    });
    stream.write_all(b"late").await.unwrap();
    wait::until(SOON, async || proxy.observed().bytes_to_target == 4).await;
    assert!(is_silent(&mut stream).await);
    proxy.set(Conditions::default());
    let mut answer = [0; 4];
    timeout(SOON, stream.read_exact(&mut answer))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&answer, b"late");
}

#[tokio::test]
async fn a_reset_ends_what_is_open_and_nothing_else() {
    let (proxy, mut ends) = echo().await;
    let mut stream = connect(&proxy).await;
    ping(&mut stream).await.unwrap();
    proxy.reset();
    let error = stream.read(&mut [0; 1]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    let error = ends.recv().await.unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    ping(&mut connect(&proxy).await).await.unwrap();
}

#[tokio::test]
async fn a_cut_refuses_new_connections_until_it_is_over() {
    let (proxy, _ends) = echo().await;
    let mut stream = connect(&proxy).await;
    ping(&mut stream).await.unwrap();
    proxy.cut();
    assert!(ping(&mut stream).await.is_err());
    assert!(ping(&mut connect(&proxy).await).await.is_err());
    assert_eq!(proxy.observed().accepted, 1);
    proxy.set(Conditions::default());
    ping(&mut connect(&proxy).await).await.unwrap();
}

#[tokio::test]
async fn half_open_is_silence_for_the_client_until_a_reset() {
    let (proxy, mut ends) = echo().await;
    let mut stream = connect(&proxy).await;
    ping(&mut stream).await.unwrap();
    proxy.half_open();
    ends.recv().await.unwrap().unwrap_err();
    stream.write_all(b"hello?").await.unwrap();
    assert!(is_silent(&mut stream).await);
    ping(&mut connect(&proxy).await).await.unwrap();
    proxy.reset();
    assert!(stream.read(&mut [0; 1]).await.is_err());
}

#[tokio::test]
async fn a_target_that_is_not_there_resets_and_a_dropped_proxy_too() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = nobody.local_addr().unwrap();
    drop(nobody);
    let proxy = ChaosProxy::start(address).await.unwrap();
    assert!(ping(&mut connect(&proxy).await).await.is_err());

    let (proxy, _ends) = echo().await;
    let mut stream = connect(&proxy).await;
    ping(&mut stream).await.unwrap();
    drop(proxy);
    assert!(ping(&mut stream).await.is_err());
}
