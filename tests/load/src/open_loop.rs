//! Load that does not wait for answers: requests begin at a constant rate, and each one's time counts from
//! when it should have begun, so that a server that stands still can't hide it (no coordinated omission).

use std::time::Duration;

use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};

/// What became of one request.
#[derive(Debug, Clone, Copy)]
pub struct Outcome {
    /// From its intended begin to the end of its answer.
    pub took: Duration,
    /// From its intended begin to its own one.
    pub late: Duration,
    /// The status; none when there was no answer.
    pub status: Option<u16>,
}

impl Outcome {
    /// Whether it did what was asked.
    pub fn is_good(&self) -> bool {
        self.status.is_some_and(|status| status < 400)
    }
}

/// Sends `per_second` requests for as long as `lasting`; `send` gets each one's number.
pub async fn run<F>(per_second: u32, lasting: Duration, send: impl Fn(usize) -> F) -> Vec<Outcome>
where
    F: Future<Output = Option<u16>> + Send + 'static,
{
    let begun = Instant::now();
    let mut requests = JoinSet::new();
    let mut outcomes = Vec::new();
    for n in 0.. {
        let after = Duration::from_secs(1) * n / per_second;
        if after >= lasting {
            break;
        }
        let intended = begun + after;
        sleep_until(intended).await;
        let late = intended.elapsed();
        let request = send(n as usize);
        requests.spawn(async move {
            let status = request.await;
            Outcome {
                took: intended.elapsed(),
                late,
                status,
            }
        });
        while let Some(Ok(outcome)) = requests.try_join_next() {
            outcomes.push(outcome);
        }
    }
    outcomes.extend(requests.join_all().await);
    outcomes
}
