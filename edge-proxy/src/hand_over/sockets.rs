//! The sockets that an edge listens on. Connections that nobody has accepted yet belong to the socket and not to a
//! process: whoever has it next accepts them.

use std::{
    io,
    net::{SocketAddr, TcpListener as StdTcpListener},
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
};

use listenfd::ListenFd;
use telemetry::supervisor;
use tokio::net::TcpListener;

use crate::{config::Config, run::Ports};

/// How many there are.
pub(super) const COUNT: usize = 4;

/// Why an edge can't listen.
#[derive(Debug, thiserror::Error)]
#[error("listening on {key} = {address}: {source}")]
pub struct NotListening {
    key: &'static str,
    address: SocketAddr,
    source: io::Error,
}

/// All of an edge.
#[derive(Debug)]
pub struct Sockets {
    http: Socket,
    https: Socket,
    forward: Socket,
    metrics: Socket,
}

#[derive(Debug)]
struct Socket {
    key: &'static str,
    address: SocketAddr,
    listener: StdTcpListener,
}

impl Sockets {
    /// Those that the predecessor has, or that the supervisor has kept of one that was killed, if the configuration still
    /// wants them; new ones for the others.
    ///
    /// # Errors
    /// When one can't be listened on.
    pub async fn open(config: &Config, inherited: Vec<OwnedFd>) -> Result<Self, NotListening> {
        let mut inherited: Vec<_> = inherited.into_iter().map(StdTcpListener::from).collect();
        inherited.extend(kept());
        let mut open = async |key, address| Socket::open(key, address, &mut inherited).await;
        Ok(Self {
            http: open("listen_http", config.listen_http).await?,
            https: open("listen_https", config.listen_https).await?,
            forward: open("listen_forward", config.listen_forward).await?,
            metrics: open("listen_metrics", config.listen_metrics).await?,
        })
    }

    /// What accepts at the ports for users and edges.
    ///
    /// # Errors
    /// When the system has no more descriptors.
    pub fn ports(&self) -> Result<Ports, NotListening> {
        Ok(Ports {
            http: self.http.accepting()?,
            https: self.https.accepting()?,
            forward: self.forward.accepting()?,
        })
    }

    /// What accepts at the port for operators.
    ///
    /// # Errors
    /// When the system has no more descriptors.
    pub fn metrics(&self) -> Result<TcpListener, NotListening> {
        self.metrics.accepting()
    }

    /// Has the supervisor keep those for users and edges: should this process be killed, they wait for the next one
    /// instead of being refused.
    pub fn keep(&self) {
        for socket in [&self.http, &self.https, &self.forward] {
            // One of an earlier configuration, perhaps.
            supervisor::forget(socket.key);
            supervisor::keep(socket.key, socket.listener.as_fd());
        }
    }

    /// Closes them: whoever comes is refused, and goes elsewhere.
    pub fn close(self) {
        for socket in [self.http, self.https, self.forward] {
            supervisor::forget(socket.key);
        }
    }

    pub(super) fn all(&self) -> [BorrowedFd<'_>; COUNT] {
        [&self.http, &self.https, &self.forward, &self.metrics]
            .map(|socket| socket.listener.as_fd())
    }
}

/// By systemd, for this process (sd_listen_fds(3)).
fn kept() -> Vec<StdTcpListener> {
    let mut kept = ListenFd::from_env();
    let each = (0..kept.len()).map(|index| kept.take_tcp_listener(index).ok().flatten());
    each.flatten().collect()
}

impl Socket {
    async fn open(
        key: &'static str,
        address: SocketAddr,
        inherited: &mut Vec<StdTcpListener>,
    ) -> Result<Self, NotListening> {
        let is_it = |one: &StdTcpListener| one.local_addr().is_ok_and(|bound| bound == address);
        let listener = match inherited.iter().position(is_it) {
            Some(index) => Ok(inherited.swap_remove(index)),
            None => TcpListener::bind(address)
                .await
                .and_then(TcpListener::into_std),
        };
        match listener {
            Ok(listener) => Ok(Self {
                key,
                address,
                listener,
            }),
            Err(source) => Err(NotListening {
                key,
                address,
                source,
            }),
        }
    }

    fn accepting(&self) -> Result<TcpListener, NotListening> {
        let another = || {
            let listener = self.listener.try_clone()?;
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener)
        };
        another().map_err(|source| NotListening {
            key: self.key,
            address: self.address,
            source,
        })
    }
}
