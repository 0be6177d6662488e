//! Users who ask all the time, on a thread of their own: what a test does meanwhile makes none of them wait.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::trial::{HOSTNAMES, served};
use crate::support::{Ca, http1_only};

const BETWEEN: Duration = Duration::from_millis(10);

/// How they fared so far.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    pub requests: usize,
    pub longest: Duration,
    pub failed: Vec<String>,
}

pub struct Users {
    seen: Arc<Mutex<Seen>>,
    ending: Arc<AtomicBool>,
    asking: JoinHandle<()>,
}

impl Users {
    pub fn start(ca: &Ca, edge: SocketAddr) -> Self {
        let (seen, ending) = (Arc::<Mutex<Seen>>::default(), Arc::<AtomicBool>::default());
        let client = http1_only(ca, edge);
        let asking = ask(client, Arc::clone(&seen), Arc::clone(&ending));
        Self {
            seen,
            ending,
            asking: thread::spawn(move || {
                let mut runtime = tokio::runtime::Builder::new_current_thread();
                runtime.enable_all().build().unwrap().block_on(asking);
            }),
        }
    }

    pub fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }

    pub fn end(self) -> Seen {
        self.ending.store(true, Ordering::Relaxed);
        self.asking.join().unwrap();
        let seen = self.seen.lock().unwrap();
        seen.clone()
    }
}

async fn ask(client: reqwest::Client, seen: Arc<Mutex<Seen>>, ending: Arc<AtomicBool>) {
    for hostname in HOSTNAMES.into_iter().cycle() {
        if ending.load(Ordering::Relaxed) {
            return;
        }
        let begun = Instant::now();
        let served = served(&client, hostname).await;
        let took = begun.elapsed();
        {
            let mut seen = seen.lock().unwrap();
            seen.requests += 1;
            seen.longest = seen.longest.max(took);
            seen.failed.extend(served.err());
        }
        tokio::time::sleep(BETWEEN).await;
    }
}
