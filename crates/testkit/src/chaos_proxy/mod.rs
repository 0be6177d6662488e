//! A TCP proxy that does to connections what networks do: slows them down, swallows their bytes without
//! a word, cuts them. What it does can be changed while connections are open.

mod conditions;
mod connection;
mod direction;
#[cfg(test)]
mod tests;

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
    task::JoinHandle,
};

pub use conditions::{Conditions, Direction};

/// So many connections at a time; more wait to be accepted.
const CONNECTIONS_MAX: usize = 4096;

/// A running proxy. When it is dropped, it resets what is open.
#[derive(Debug)]
pub struct ChaosProxy {
    /// Where it listens.
    pub address: SocketAddr,
    control: Arc<Control>,
    accepting: JoinHandle<()>,
}

/// What has passed through a proxy so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observed {
    /// Connections taken, those refused not counted.
    pub accepted: u64,
    /// Connections open now.
    pub open: u64,
    /// Bytes that arrived at the target.
    pub bytes_to_target: u64,
    /// Bytes that arrived at clients.
    pub bytes_to_client: u64,
}

/// What the connections of a proxy share.
#[derive(Debug)]
struct Control {
    conditions: watch::Sender<Conditions>,
    strikes: watch::Sender<Strikes>,
    accepted: AtomicU64,
    open: AtomicU64,
    bytes_to_target: AtomicU64,
    bytes_to_client: AtomicU64,
}

/// How often something was done to all connections that were open then.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Strikes {
    resets: u64,
    half_opens: u64,
}

impl ChaosProxy {
    /// A proxy on a free port of 127.0.0.1 before `target`.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn start(target: SocketAddr) -> io::Result<Self> {
        Self::listen(SocketAddr::from(([127, 0, 0, 1], 0)), target).await
    }

    /// A proxy at `address` before `target`.
    ///
    /// # Errors
    /// When the address can't be listened at.
    pub async fn listen(address: SocketAddr, target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let control = Arc::new(Control {
            conditions: watch::Sender::default(),
            strikes: watch::Sender::default(),
            accepted: AtomicU64::default(),
            open: AtomicU64::default(),
            bytes_to_target: AtomicU64::default(),
            bytes_to_client: AtomicU64::default(),
        });
        let accepting = tokio::spawn(accept(listener, target, control.clone()));
        Ok(Self {
            address,
            control,
            accepting,
        })
    }

    /// From now on connections, those open and those to come, have these conditions.
    pub fn set(&self, conditions: Conditions) {
        self.control.conditions.send_replace(conditions);
    }

    /// Ends every open connection with a reset to both sides.
    pub fn reset(&self) {
        self.control.strikes.send_modify(|all| all.resets += 1);
    }

    /// Every open connection loses its target, and its client is not told: it meets silence.
    pub fn half_open(&self) {
        self.control.strikes.send_modify(|all| all.half_opens += 1);
    }

    /// Resets what is open and refuses what is new, until other conditions are set.
    pub fn cut(&self) {
        self.set(Conditions::refusing());
        self.reset();
    }

    /// What has passed so far.
    #[must_use]
    pub fn observed(&self) -> Observed {
        let now = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Observed {
            accepted: now(&self.control.accepted),
            open: now(&self.control.open),
            bytes_to_target: now(&self.control.bytes_to_target),
            bytes_to_client: now(&self.control.bytes_to_client),
        }
    }
}

impl Drop for ChaosProxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, control: Arc<Control>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    // An error of `accept` is of one connection, or of too many open files: the next one may succeed.
    while let Ok(permit) = room.clone().acquire_owned().await {
        match listener.accept().await {
            Ok((client, _)) => {
                let connection = connection::serve(client, target, control.clone());
                tokio::spawn(async move {
                    connection.await;
                    drop(permit);
                });
            }
            Err(error) => tracing::warn!(%error, "a connection was not accepted"),
        }
    }
}
