//! Load that judges every request. "Failed" is a connect error, a reset, more than 10 s without the
//! whole answer (streams: without the next byte), a short body, or a 5xx that the application did
//! not send. Clients do not retry. A WebSocket may end with 1001 or 1012.

#[cfg(test)]
mod faulty;
mod judge;
mod kind;
mod record;
mod report;
#[cfg(test)]
mod samples;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::watch, task::JoinSet};

pub use judge::{Demands, Verdict, Violation, judge, judge_changes};
pub use kind::Kind;
pub use record::{Outcome, Record, Summary};
pub use report::{PHASES, Report, write};

use crate::edge::Edge;

/// Requests a second of each kind.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    /// Which requests.
    pub kind: Kind,
    /// How many of them begin each second, over all edges.
    pub per_second: f64,
}

/// The mix that the acceptance list asks for: more than 200 requests a second in all.
pub const ACCEPTANCE_MIX: [Rate; 5] = [
    Rate {
        kind: Kind::Get1,
        per_second: 120.0,
    },
    Rate {
        kind: Kind::Get2,
        per_second: 80.0,
    },
    Rate {
        kind: Kind::Post1Mib,
        per_second: 6.0,
    },
    Rate {
        kind: Kind::Stream20s,
        per_second: 1.0,
    },
    Rate {
        kind: Kind::WebSocket,
        per_second: 1.0,
    },
];

/// A running load; [`Load::stop`] lets what has begun end and gives the records.
pub struct Load {
    stop: watch::Sender<bool>,
    workers: JoinSet<Vec<Record>>,
}

impl Load {
    /// Starts `rates` against each of `edges` in turn. Arrivals are open-loop: a slow answer does not
    /// hold back the next request.
    #[must_use]
    pub fn start(edges: &[Edge], rates: &[Rate]) -> Self {
        let (stop, stopped) = watch::channel(false);
        let mut workers = JoinSet::new();
        for edge in edges {
            for rate in rates {
                let per_edge = rate.per_second / edges.len() as f64;
                let pacer = Pacer {
                    kind: rate.kind,
                    period: Duration::from_secs_f64(1.0 / per_edge),
                    stopped: stopped.clone(),
                };
                workers.spawn(pacer.run(Arc::new(edge.clone())));
            }
        }
        Self { stop, workers }
    }

    /// Ends the arrivals, waits for what has begun, and gives every request.
    pub async fn stop(mut self) -> Summary {
        self.stop.send_replace(true);
        let mut records = Vec::new();
        while let Some(worker) = self.workers.join_next().await {
            records.extend(worker.expect("a load worker does not panic"));
        }
        records.sort_by_key(|record| record.begun);
        Summary { records }
    }
}

struct Pacer {
    kind: Kind,
    period: Duration,
    stopped: watch::Receiver<bool>,
}

impl Pacer {
    async fn run(self, edge: Arc<Edge>) -> Vec<Record> {
        let pool = kind::Pool::new(edge, self.kind);
        let mut stop = self.stopped.clone();
        let mut ticks = tokio::time::interval(self.period);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
        let mut requests = JoinSet::new();
        let mut records = Vec::new();
        loop {
            tokio::select! {
                _ = stop.wait_for(|stopped| *stopped) => break,
                _ = ticks.tick() => {
                    let (pool, stopped) = (pool.clone(), self.stopped.clone());
                    requests.spawn(async move { pool.request(stopped).await });
                }
                Some(done) = requests.join_next() => records.push(done.expect("a request does not panic")),
            }
        }
        while let Some(done) = requests.join_next().await {
            records.push(done.expect("a request does not panic"));
        }
        records
    }
}

/// Now, for a record.
fn now() -> (Instant, chrono::DateTime<chrono::Utc>) {
    (Instant::now(), chrono::Utc::now())
}
