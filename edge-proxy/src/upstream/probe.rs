//! One probe of one endpoint: HTTP when the service has a health path, else TCP connect.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use link::exhaustion::is_exhaustion;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout_at},
};

use super::{
    endpoint::{Confirmed, Endpoint, Failure, Verdict},
    pool::ServicePool,
};

const TIMEOUT: Duration = Duration::from_secs(3);
/// Enough for any status line.
const STATUS_LINE_MAX: usize = 1024;

/// Of an endpoint and as its service wants it.
#[derive(Debug)]
pub struct Probe {
    /// Its service.
    pub pool: Arc<ServicePool>,
    /// The endpoint.
    pub endpoint: Arc<Endpoint>,
}

impl Probe {
    /// Probes and records the result. True when its agent must be asked, or heard, anew.
    pub async fn run(self) -> bool {
        let (begun, known) = (Instant::now(), self.endpoint.verdict());
        let spec = &self.endpoint.spec;
        let path = self.pool.health_path_of(spec);
        let changed = match probe(spec.address, path).await {
            Some(passed) => self.record(known, passed),
            None => false,
        };
        self.endpoint.probe_ended(begun.elapsed());
        changed && self.endpoint.confirmed() == Confirmed::Doubted
    }

    /// True when it came up or went down.
    fn record(&self, known: Verdict, passed: Result<(), Failure>) -> bool {
        let (instance, address) = (self.endpoint.spec.instance_id, self.endpoint.spec.address);
        match passed {
            Ok(()) => {
                let came_up = self.endpoint.probe_succeeded(known);
                if came_up {
                    tracing::info!(%instance, %address, "endpoint is up");
                }
                came_up
            }
            Err(failure) => {
                let went_down = self.endpoint.probe_failed(failure);
                if went_down {
                    tracing::warn!(%instance, %address, ?failure, "endpoint is down");
                }
                went_down
            }
        }
    }
}

/// None when this edge could not even try.
async fn probe(address: SocketAddr, path: Option<&str>) -> Option<Result<(), Failure>> {
    let until = Instant::now() + TIMEOUT;
    let connected = timeout_at(until, TcpStream::connect(address)).await;
    if let Ok(Err(error)) = &connected
        && is_exhaustion(error)
    {
        return None;
    }
    let answered = match connected {
        Err(_) => Err(Failure::Silence),
        Ok(Err(_)) => Err(Failure::Connect),
        Ok(Ok(stream)) => answered(stream, until, path, &address.to_string()).await,
    };
    Some(answered)
}

async fn answered(
    mut stream: TcpStream,
    until: Instant,
    path: Option<&str>,
    host: &str,
) -> Result<(), Failure> {
    let Some(path) = path else { return Ok(()) };
    match timeout_at(until, ask(&mut stream, path, host)).await {
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
