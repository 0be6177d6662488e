//! One check: HTTP (any 2xx) when there is a path, else a TCP connect.

use std::{io, net::SocketAddr, time::Duration};

use domain::spec::Probe;
use link::exhaustion::is_exhaustion;
use tokio::net::TcpStream;

/// Why a check did not pass.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Nobody listens.
    #[error("nothing listens on port {port}")]
    Refused {
        /// In the container.
        port: u16,
    },
    /// No answer.
    #[error("no answer from port {port} within {seconds} s")]
    TimedOut {
        /// In the container.
        port: u16,
        /// The probe's timeout.
        seconds: u64,
    },
    /// Another status than 2xx.
    #[error("GET {path} on port {port} answered {status}")]
    Status {
        /// As configured.
        path: String,
        /// In the container.
        port: u16,
        /// HTTP's.
        status: u16,
    },
    /// This machine could not even try: it says nothing about the program.
    #[error("port {port}: the agent's machine has no descriptor, memory or local port left")]
    Exhausted {
        /// In the container.
        port: u16,
    },
    /// Something else.
    #[error("port {port}: {reason}")]
    Broken {
        /// In the container.
        port: u16,
        /// The system's words.
        reason: String,
    },
}

/// Makes checks.
#[derive(Debug)]
pub struct Prober {
    client: reqwest::Client,
}

impl Prober {
    /// A prober that follows no redirect, uses no proxy and keeps no connection.
    ///
    /// # Errors
    /// When the HTTP client can't be made.
    pub fn new() -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(0)
            .user_agent("railhead-probe")
            .build()?;
        Ok(Self { client })
    }

    /// Checks once.
    ///
    /// # Errors
    /// [`Failure`] when it does not pass in time.
    pub async fn check(&self, probe: &Probe, target: SocketAddr) -> Result<(), Failure> {
        let timeout = probe.timeout.duration();
        let check = async {
            match &probe.path {
                Some(path) => self.http(path, target).await,
                None => tcp(target).await,
            }
        };
        tokio::time::timeout(timeout, check)
            .await
            .unwrap_or_else(|_| Err(timed_out(target, timeout)))
    }

    async fn http(&self, path: &str, target: SocketAddr) -> Result<(), Failure> {
        let port = target.port();
        let answer = self
            .client
            .get(format!("http://{target}{path}"))
            .send()
            .await;
        let status = answer
            .map_err(|error| match io_kind(&error) {
                _ if is_exhaustion(&error) => Failure::Exhausted { port },
                Some(io::ErrorKind::ConnectionRefused) => Failure::Refused { port },
                _ => broken(port, &error),
            })?
            .status();
        if status.is_success() {
            return Ok(());
        }
        Err(Failure::Status {
            path: path.to_owned(),
            port,
            status: status.as_u16(),
        })
    }
}

async fn tcp(target: SocketAddr) -> Result<(), Failure> {
    let port = target.port();
    match TcpStream::connect(target).await {
        Ok(_) => Ok(()),
        Err(error) if is_exhaustion(&error) => Err(Failure::Exhausted { port }),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            Err(Failure::Refused { port })
        }
        Err(error) => Err(broken(port, &error)),
    }
}

fn timed_out(target: SocketAddr, timeout: Duration) -> Failure {
    Failure::TimedOut {
        port: target.port(),
        seconds: timeout.as_secs(),
    }
}

/// With its causes: reqwest's own text says only that sending failed.
fn broken(port: u16, error: &dyn std::error::Error) -> Failure {
    let chain = std::iter::successors(Some(error), |error| error.source());
    let reason: Vec<String> = chain.map(ToString::to_string).collect();
    Failure::Broken {
        port,
        reason: reason.join(": "),
    }
}

fn io_kind(error: &reqwest::Error) -> Option<io::ErrorKind> {
    let first: &dyn std::error::Error = error;
    std::iter::successors(Some(first), |error| error.source())
        .find_map(|error| error.downcast_ref::<io::Error>())
        .map(io::Error::kind)
}

#[cfg(test)]
mod tests {
    use axum::{Router, http::StatusCode, routing::get};
    use domain::quantity::Span;

    use super::*;

    fn probe(path: Option<&str>) -> Probe {
        Probe {
            path: path.map(str::to_owned),
            interval: Span::seconds(1),
            timeout: Span::seconds(1),
            failures: 1,
        }
    }

    fn prober() -> Prober {
        telemetry::init_crypto();
        Prober::new().unwrap()
    }

    async fn server() -> SocketAddr {
        let routes = Router::new()
            .route("/ok", get(|| async { "fine" }))
            .route("/moved", get(|| async { StatusCode::FOUND }))
            .route("/slow", get(std::future::pending::<()>));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, routes).await });
        address
    }

    #[tokio::test]
    async fn passes_on_2xx_and_on_an_open_port_only() {
        let (prober, target) = (prober(), server().await);
        assert_eq!(prober.check(&probe(Some("/ok")), target).await, Ok(()));
        assert_eq!(prober.check(&probe(None), target).await, Ok(()));
        let moved = prober.check(&probe(Some("/moved")), target).await;
        assert!(matches!(moved, Err(Failure::Status { status: 302, .. })));
        let slow = prober.check(&probe(Some("/slow")), target).await;
        assert!(matches!(slow, Err(Failure::TimedOut { seconds: 1, .. })));
    }

    #[tokio::test]
    async fn a_closed_port_is_told_apart() {
        let prober = prober();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let target = listener.local_addr().unwrap();
        drop(listener);
        let refused = Err(Failure::Refused {
            port: target.port(),
        });
        assert_eq!(prober.check(&probe(Some("/ok")), target).await, refused);
        assert_eq!(prober.check(&probe(None), target).await, refused);
    }
}
