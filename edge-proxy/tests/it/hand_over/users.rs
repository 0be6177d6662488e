//! Users of an edge, each of another kind, who don't try again.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use rustls::ClientConfig;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    task::JoinHandle,
};

use crate::support::{Ca, client, connect, http1_only, tls_config, until};

/// Each of them asks as often before and after.
const SOME: usize = 20;
const PIECES: usize = 10;

#[derive(Default)]
struct Progress {
    ending: AtomicBool,
    /// Of each user.
    answered: [AtomicUsize; 3],
}

pub struct Users {
    progress: Arc<Progress>,
    asking: Vec<JoinHandle<()>>,
    streaming: reqwest::Client,
}

impl Users {
    pub fn start(ca: &Ca, edge: SocketAddr) -> Self {
        let progress = Arc::<Progress>::default();
        let kept = [http1_only(ca, edge), client(ca, edge)];
        let mut asking: Vec<_> = kept
            .into_iter()
            .enumerate()
            .map(|(user, client)| tokio::spawn(ask(client, user, Arc::clone(&progress))))
            .collect();
        let config = tls_config(ca, &["http/1.1"]);
        let come_and_go = come_and_go(config, edge, Arc::clone(&progress));
        asking.push(tokio::spawn(come_and_go));
        Self {
            progress,
            asking,
            streaming: http1_only(ca, edge),
        }
    }

    /// Waits until each of them has been served some times more.
    pub async fn some_more(&self) {
        let answered = &self.progress.answered;
        let goals = answered
            .each_ref()
            .map(|n| n.load(Ordering::Relaxed) + SOME);
        until("all users are served", async || {
            let mut all = answered.iter().zip(goals);
            all.all(|(n, goal)| n.load(Ordering::Relaxed) >= goal)
                || self.asking.iter().any(JoinHandle::is_finished)
        })
        .await;
    }

    /// A request that lasts for 1 s.
    pub async fn begin_stream(&self) -> Stream {
        let url = format!("https://app.test/stream?pieces={PIECES}&every_ms=100");
        let answer = self.streaming.get(url).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        Stream(answer)
    }

    /// None of them has met an error.
    pub async fn end(self) {
        self.progress.ending.store(true, Ordering::Relaxed);
        for user in self.asking {
            user.await.unwrap();
        }
    }
}

/// An answer that is still coming.
pub struct Stream(reqwest::Response);

impl Stream {
    pub async fn comes_whole(self) {
        let text = self.0.text().await.unwrap();
        assert_eq!(text.lines().count(), PIECES);
    }
}

/// One who keeps connections open.
async fn ask(client: reqwest::Client, user: usize, progress: Arc<Progress>) {
    while !progress.ending.load(Ordering::Relaxed) {
        let answer = client.get("https://app.test/").send().await.unwrap();
        assert_eq!(answer.text().await.unwrap(), "one");
        progress.answered[user].fetch_add(1, Ordering::Relaxed);
    }
}

/// One who opens a connection for each request.
async fn come_and_go(config: Arc<ClientConfig>, edge: SocketAddr, progress: Arc<Progress>) {
    while !progress.ending.load(Ordering::Relaxed) {
        let mut connection = connect(Arc::clone(&config), edge, "app.test")
            .await
            .unwrap();
        let request = "GET / HTTP/1.1\r\nhost: app.test\r\nconnection: close\r\n\r\n";
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("\r\n\r\none"), "{answer}");
        progress.answered[2].fetch_add(1, Ordering::Relaxed);
    }
}
