//! What edges of this region ask, over mTLS and without the control plane (`protocol::agent_api`).
//! It answers from what is seen here, so an edge never follows an old table to another's container.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::get,
};
use domain::id::{InstanceId, NodeId, ServiceId};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use link::identity::DenyList;
use nix::sys::socket::{setsockopt, sockopt};
use protocol::agent_api::Confirmation;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::reconcile::{Instance, Observed};

type Seen = watch::Receiver<Arc<Observed>>;

const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
/// Edges keep few connections each; what is beyond waits in the listen queue.
const CONNECTIONS: usize = 512;
/// A peer whose machine or network is gone says nothing more: the kernel finds out within half a minute, and its place
/// is free again.
const SILENT_SECONDS: u32 = 15;
const ASK_AGAIN_SECONDS: u32 = 5;
const ASK_TIMES: u32 = 3;
/// After the system refused a connection (no file descriptors).
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// What the disk remembers may be over: until the engine has told what there is, there is no answer.
const UNKNOWN_YET: StatusCode = StatusCode::SERVICE_UNAVAILABLE;

/// Takes edges' connections until the task is dropped. Who is no edge of the platform fails the handshake;
/// who is none any more (`denied`) is cut off.
pub async fn serve(
    listener: TcpListener,
    mut tls: rustls::ServerConfig,
    denied: DenyList,
    observed: Seen,
) {
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let routes = routes(observed);
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, peer)) => {
                if let Err(error) = notice_its_end(&stream) {
                    tracing::warn!(%peer, %error, "an edge's connection is served, but its end may go unnoticed");
                }
                let connection = Connection {
                    acceptor: acceptor.clone(),
                    denied: denied.clone(),
                    routes: routes.clone(),
                };
                tokio::spawn(async move {
                    connection.run(stream, peer).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "an edge's connection could not be taken");
                tokio::time::sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}

fn notice_its_end(stream: &TcpStream) -> nix::Result<()> {
    setsockopt(stream, sockopt::KeepAlive, &true)?;
    setsockopt(stream, sockopt::TcpKeepIdle, &SILENT_SECONDS)?;
    setsockopt(stream, sockopt::TcpKeepInterval, &ASK_AGAIN_SECONDS)?;
    setsockopt(stream, sockopt::TcpKeepCount, &ASK_TIMES)
}

struct Connection {
    acceptor: TlsAcceptor,
    denied: DenyList,
    routes: Router,
}

impl Connection {
    async fn run(self, stream: TcpStream, peer: SocketAddr) {
        let handshake = tokio::time::timeout(HANDSHAKE_WITHIN, self.acceptor.accept(stream)).await;
        let stream = match handshake.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(stream) => stream,
            Err(error) => {
                tracing::info!(%peer, %error, "refused a connection to the agent API");
                return;
            }
        };
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        match link::tls::peer_spiffe_id(chain) {
            Ok(edge) => self.serve(stream, edge.node_id).await,
            Err(error) => tracing::warn!(%peer, %error, "an edge without identity"),
        }
    }

    async fn serve(self, stream: TlsStream<TcpStream>, edge: NodeId) {
        let stream = TokioIo::new(self.denied.guard(stream, edge));
        let served = auto::Builder::new(TokioExecutor::new())
            .serve_connection(stream, TowerToHyperService::new(self.routes))
            .await;
        if let Err(error) = served {
            tracing::debug!(%edge, %error, "a connection to the agent API broke off");
        }
    }
}

fn routes(observed: Seen) -> Router {
    Router::new()
        .route("/agent/v1/instances/{id}", get(instance))
        .route("/agent/v1/services/{id}/instances", get(ready_instances))
        .with_state(observed)
}

async fn instance(
    State(observed): State<Seen>,
    Path(id): Path<InstanceId>,
) -> Result<Json<Confirmation>, StatusCode> {
    let observed = observed.borrow();
    let all = observed.confirmations.as_ref().ok_or(UNKNOWN_YET)?;
    let confirmed = all.get(&id).copied();
    confirmed.map(Json).ok_or(StatusCode::NOT_FOUND)
}

async fn ready_instances(
    State(observed): State<Seen>,
    Path(id): Path<ServiceId>,
) -> Result<Json<Vec<Confirmation>>, StatusCode> {
    let observed = observed.borrow();
    let all = observed.confirmations.as_ref().ok_or(UNKNOWN_YET)?;
    let ready = all.values().filter(|c| c.service_id == id && c.ready);
    Ok(Json(ready.copied().collect()))
}

/// What an edge hears of an instance: nothing while no container holds its address. `node` is the address that host
/// ports are published on.
#[must_use]
pub fn confirmation(id: InstanceId, instance: &Instance, node: IpAddr) -> Option<Confirmation> {
    instance.container.as_ref()?;
    let report = instance.report(id, node);
    Some(Confirmation {
        instance_id: id,
        service_id: report.service_id,
        address: report.address?,
        ready: report.ready,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use link::{
        identity::Identity,
        tls::{Peers, client_config, server_config},
    };
    use protocol::{feed::FeedName, join::Role};
    use rustls::pki_types::ServerName;
    use testkit::pki::{Life, Pki, spiffe_id};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio_rustls::{TlsConnector, client};

    use super::*;

    async fn connect(edge: &Identity, to: SocketAddr) -> io::Result<client::TlsStream<TcpStream>> {
        let config = client_config(edge, Peers::default()).unwrap();
        let name = ServerName::try_from("agent.invalid").unwrap();
        let stream = TcpStream::connect(to).await?;
        TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
    }

    /// Asks for an instance that is not there, and reads the beginning of the answer.
    async fn ask(stream: &mut client::TlsStream<TcpStream>) -> io::Result<[u8; 12]> {
        let path = format!("/agent/v1/instances/{}", InstanceId::new());
        let request = format!("GET {path} HTTP/1.1\r\nhost: agent\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut status = [0; 12];
        stream.read_exact(&mut status).await?;
        Ok(status)
    }

    /// An agent that sees nothing, where it listens, and an edge.
    async fn start() -> (Identity, SocketAddr, Identity) {
        let pki = Pki::new();
        let [agent, edge] =
            [Role::Agent, Role::Edge].map(|role| pki.identity(&spiffe_id(role), Life::FRESH));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let tls = server_config(&agent, Peers::default()).unwrap();
        let sees_nothing = Observed {
            confirmations: Some(BTreeMap::new()),
            ..Observed::default()
        };
        let (observed, seen) = watch::channel(Arc::new(sees_nothing));
        let serving = serve(listener, tls, agent.denied().clone(), seen);
        tokio::spawn(async move {
            serving.await;
            drop(observed);
        });
        (agent, address, edge)
    }

    /// Of the connections to this port, as the kernel lists them in hexadecimal: `local remote state queues timer`.
    fn timers(local: SocketAddr) -> Vec<String> {
        let local = format!(":{:04X}", local.port());
        let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
        let rows = table.lines().map(|row| row.split_whitespace().collect());
        let stand = rows.filter(|row: &Vec<&str>| row[1].ends_with(&local) && row[3] == "01");
        stand.map(|row| row[5][..2].to_owned()).collect()
    }

    #[tokio::test]
    async fn the_kernel_looks_whether_an_edge_that_is_silent_is_still_there() {
        let (_agent, address, edge) = start().await;
        let mut open = connect(&edge, address).await.unwrap();
        assert_eq!(&ask(&mut open).await.unwrap(), b"HTTP/1.1 404");
        let end = std::time::Instant::now() + Duration::from_secs(10);
        // 01 while the answer is not acknowledged yet, 02 from then on.
        while timers(address) != ["02"] {
            assert!(std::time::Instant::now() < end, "{:?}", timers(address));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    #[tokio::test]
    async fn an_edge_that_is_expelled_loses_the_connection_that_it_has() {
        let (agent, address, edge) = start().await;
        let mut open = connect(&edge, address).await.unwrap();
        assert_eq!(&ask(&mut open).await.unwrap(), b"HTTP/1.1 404");
        let feed = FeedName::Node(agent.node_id());
        agent.denied().replace(&feed, [edge.node_id()].into());
        let mut rest = Vec::new();
        let end = open.read_to_end(&mut rest);
        let _ = tokio::time::timeout(Duration::from_secs(2), end)
            .await
            .expect("cut within 2 s");
        // TLS 1.3 clients hear of a refusal with their first answer.
        let refused = async { ask(&mut connect(&edge, address).await?).await };
        assert!(refused.await.is_err());
    }
}
