//! The time that an instance has for the first byte of its answer, and for the whole of it. Pingora has one read
//! timeout for head and body, from byte to byte; an idle stream may be silent far longer than a first answer may take.
//! So a timer shuts the upstream socket down, through a second handle on it.

use std::{
    collections::HashMap,
    net::{Shutdown, TcpStream as Handle},
    os::fd::{AsFd, AsRawFd, RawFd},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use tokio::{
    net::TcpStream,
    task::AbortHandle,
    time::{Instant, sleep},
};

/// Second handles on open upstream sockets, by descriptor. A handle goes before its socket is
/// closed (else the instance would see no FIN), so a number never means an older socket.
#[derive(Debug, Default)]
pub struct Sockets(Mutex<HashMap<RawFd, Arc<Handle>>>);

impl Sockets {
    fn all(&self) -> MutexGuard<'_, HashMap<RawFd, Arc<Handle>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a new connection.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn insert(&self, socket: &TcpStream) -> std::io::Result<RawFd> {
        let handle = Handle::from(socket.as_fd().try_clone_to_owned()?);
        self.all().insert(socket.as_raw_fd(), Arc::new(handle));
        Ok(socket.as_raw_fd())
    }

    /// Forgets a connection that is about to be closed.
    pub fn remove(&self, fd: RawFd) {
        self.all().remove(&fd);
    }

    /// The handle of an open connection; none for a stream of a tunnel.
    #[must_use]
    pub fn get(&self, fd: RawFd) -> Option<Arc<Handle>> {
        self.all().get(&fd).cloned()
    }

    /// Open connections.
    #[must_use]
    pub fn len(&self) -> usize {
        self.all().len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all().is_empty()
    }
}

/// Which of a request's times is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Limit {
    /// To the first byte of the answer, for an attempt that another one follows.
    PerTry = 1,
    /// To the first byte of the answer.
    FirstByte,
    /// To the end of the answer.
    Total,
}

impl Limit {
    const fn of(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::PerTry),
            2 => Some(Self::FirstByte),
            3 => Some(Self::Total),
            _ => None,
        }
    }
}

/// One time after which a connection is ended.
pub struct Step {
    /// What it stands for.
    pub limit: Limit,
    /// As of the timer's start.
    pub after: Duration,
    /// Asked then: it goes on when this says no.
    pub may_end: Box<dyn FnOnce() -> bool + Send>,
}

impl Step {
    /// Whatever else there is.
    #[must_use]
    pub fn always(limit: Limit, after: Duration) -> Self {
        Self {
            limit,
            after,
            may_end: Box::new(|| true),
        }
    }
}

/// A running timer; dropping it disarms it.
#[derive(Debug)]
pub struct Timer {
    expired: Arc<AtomicU8>,
    task: AbortHandle,
}

impl Timer {
    /// Shuts the socket down at the first of these steps, which come in the order of time, that may.
    #[must_use]
    pub fn start(socket: Arc<Handle>, steps: Vec<Step>) -> Self {
        let expired = Arc::new(AtomicU8::new(0));
        let flag = Arc::clone(&expired);
        let begun = Instant::now();
        let task = tokio::spawn(async move {
            for step in steps {
                sleep(step.after.saturating_sub(begun.elapsed())).await;
                if !(step.may_end)() {
                    continue;
                }
                flag.store(step.limit as u8, Ordering::Release);
                if let Err(error) = socket.shutdown(Shutdown::Both) {
                    tracing::debug!(%error, "shutting an upstream connection down that is closed already");
                }
                return;
            }
        });
        Self {
            expired,
            task: task.abort_handle(),
        }
    }

    /// Why it ended the connection, if it did.
    #[must_use]
    pub fn expired(&self) -> Option<Limit> {
        Limit::of(self.expired.load(Ordering::Acquire))
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncReadExt, net::TcpListener};

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (client, server) = tokio::join!(
            TcpStream::connect(listener.local_addr().unwrap()),
            listener.accept()
        );
        (client.unwrap(), server.unwrap().0)
    }

    #[tokio::test]
    async fn an_expired_timer_ends_a_silent_connection() {
        let (mut client, _silent) = pair().await;
        let sockets = Sockets::default();
        let fd = sockets.insert(&client).unwrap();
        let step = Step::always(Limit::FirstByte, Duration::from_millis(20));
        let timer = Timer::start(sockets.get(fd).unwrap(), vec![step]);
        assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 0);
        assert_eq!(timer.expired(), Some(Limit::FirstByte));
    }

    #[tokio::test]
    async fn a_step_that_may_not_end_it_is_passed() {
        for (may_end, limit) in [(true, Limit::PerTry), (false, Limit::FirstByte)] {
            let (mut client, _silent) = pair().await;
            let sockets = Sockets::default();
            let fd = sockets.insert(&client).unwrap();
            let early = Step {
                limit: Limit::PerTry,
                after: Duration::from_millis(10),
                may_end: Box::new(move || may_end),
            };
            let last = Step::always(Limit::FirstByte, Duration::from_millis(20));
            let timer = Timer::start(sockets.get(fd).unwrap(), vec![early, last]);
            assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 0);
            assert_eq!(timer.expired(), Some(limit));
        }
    }

    #[tokio::test]
    async fn a_forgotten_handle_leaves_the_close_to_the_socket() {
        let (client, mut server) = pair().await;
        let sockets = Sockets::default();
        let fd = sockets.insert(&client).unwrap();
        sockets.remove(fd);
        drop(client);
        assert_eq!(server.read(&mut [0; 1]).await.unwrap(), 0);
        assert!(sockets.is_empty());
    }
}
