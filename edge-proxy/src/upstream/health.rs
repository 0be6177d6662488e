//! Active probes: HTTP when the service has a health path, else TCP connect. New endpoints are
//! probed at once, dead ones often, healthy ones every few seconds.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Semaphore,
};

use super::{
    endpoint::{Confirmed, Endpoint, Failure, Health},
    pass::Pace,
};
use crate::state::State;

const TIMEOUT: Duration = Duration::from_secs(3);
const INTERVAL: Duration = Duration::from_secs(5);
const INTERVAL_DOWN: Duration = Duration::from_millis(500);
/// Probes that run at the same time.
const CONCURRENCY: usize = 256;
/// Enough for any status line.
const STATUS_LINE_MAX: usize = 1024;

/// Probes all confirmed endpoints of the current table, for as long as the edge lives.
pub async fn run(state: Arc<State>) {
    let limit = Arc::new(Semaphore::new(CONCURRENCY));
    let mut pace = Pace::start();
    loop {
        pace.next(&state.probe_wanted).await;
        let now = Instant::now();
        let due = state.routes.load().watched(|endpoint| {
            let confirmed = endpoint.confirmed() == Confirmed::Yes;
            confirmed && endpoint.take_probe(interval_of(endpoint), now)
        });
        pace.passed(now.elapsed());
        for (pool, endpoint) in due {
            let Ok(permit) = Arc::clone(&limit).acquire_owned().await else {
                return;
            };
            tokio::spawn(async move {
                probe_once(&endpoint, pool.health_path.as_deref()).await;
                drop(permit);
            });
        }
    }
}

fn interval_of(endpoint: &Endpoint) -> Duration {
    match endpoint.health() {
        Health::Up => INTERVAL,
        Health::Unknown | Health::Down => INTERVAL_DOWN,
    }
}

/// Probes one endpoint and records the result.
pub async fn probe_once(endpoint: &Endpoint, path: Option<&str>) {
    match probe(endpoint, path).await {
        Ok(()) => {
            if endpoint.probe_succeeded() {
                tracing::info!(instance = %endpoint.spec.instance_id, address = %endpoint.spec.address, "endpoint is up");
            }
        }
        Err(failure) => {
            if endpoint.probe_failed(failure) {
                tracing::warn!(instance = %endpoint.spec.instance_id, address = %endpoint.spec.address, ?failure, "endpoint is down");
            }
        }
    }
}

async fn probe(endpoint: &Endpoint, path: Option<&str>) -> Result<(), Failure> {
    let address = endpoint.spec.address;
    let mut stream = match tokio::time::timeout(TIMEOUT, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(_)) => return Err(Failure::Connect),
        Err(_) => return Err(Failure::Answer),
    };
    let Some(path) = path else { return Ok(()) };
    let status = tokio::time::timeout(TIMEOUT, ask(&mut stream, path, &address.to_string())).await;
    match status {
        Ok(Ok(200..=299)) => Ok(()),
        _ => Err(Failure::Answer),
    }
}

async fn ask(stream: &mut TcpStream, path: &str, host: &str) -> std::io::Result<u16> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: railhead-edge\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut line = Vec::with_capacity(64);
    while line.len() < STATUS_LINE_MAX && !line.contains(&b'\n') {
        if stream.read_buf(&mut line).await? == 0 {
            break;
        }
    }
    status_of(&line).ok_or_else(|| std::io::Error::other("no HTTP status line"))
}

fn status_of(line: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(line.get(..12)?).ok()?;
    text.strip_prefix("HTTP/1.")?
        .split(' ')
        .nth(1)?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_status_and_nothing_else() {
        assert_eq!(status_of(b"HTTP/1.1 204 No Content\r\n"), Some(204));
        assert_eq!(status_of(b"HTTP/1.0 200\r\n"), Some(200));
        for bad in [
            &b"HTTP/1.1 2"[..],
            b"SSH-2.0-OpenSSH_9",
            b"",
            b"HTTP/2 200 xx",
        ] {
            assert_eq!(status_of(bad), None);
        }
    }
}
