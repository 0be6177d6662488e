//! A Redis of one test, on a socket of its own.

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use redis::Client;
use tempfile::TempDir;

use crate::wait::until;

const DEADLINE: Duration = Duration::from_secs(30);

/// A running Redis; it ends with this.
#[derive(Debug)]
pub struct Redis {
    server: Child,
    socket: PathBuf,
    dir: TempDir,
}

impl Redis {
    /// Starts one, and waits until it answers.
    ///
    /// # Panics
    /// When there is no `redis-server`, or it does not answer.
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a folder for Redis");
        let redis = Self {
            server: spawn(&dir),
            socket: dir.path().join("redis.sock"),
            dir,
        };
        redis.answers().await;
        redis
    }

    /// A client.
    ///
    /// # Panics
    /// Never: the address is well-formed.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::open(self.url()).expect("the address is well-formed")
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    async fn answers(&self) {
        until(DEADLINE, async || {
            let ping = || redis::cmd("PING").exec(&mut self.client().get_connection()?);
            ping().is_ok()
        })
        .await;
    }

    /// Ends it at once; what it knew is lost.
    ///
    /// # Panics
    /// When the system does not let it.
    pub fn kill(&mut self) {
        self.server.kill().expect("Redis can be killed");
        self.server.wait().expect("Redis was killed");
    }

    /// Starts it again after [`Self::kill`].
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn start_again(&mut self) {
        self.server = spawn(&self.dir);
        self.answers().await;
    }

    /// Sends a signal, such as `-STOP`.
    ///
    /// # Panics
    /// When the system does not let it.
    pub fn signal(&self, signal: &str) {
        let pid = self.server.id().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill {signal}");
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn spawn(dir: &TempDir) -> Child {
    Command::new("redis-server")
        .args(["--port", "0", "--unixsocket", "redis.sock", "--save", ""])
        .current_dir(dir.path())
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server is installed by ./dev setup")
}
