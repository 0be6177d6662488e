use std::{
    io,
    os::unix::net::UnixDatagram,
    process::{Child, Stdio},
    time::Duration,
};

use tempfile::TempDir;

use super::child;

/// Runs as a child, with a supervisor's environment.
#[tokio::test]
async fn supervised() {
    if child::is("watchdog::supervised") {
        telemetry::supervisor::ready();
        telemetry::watchdog::spawn();
        std::future::pending::<()>().await;
    }
}

/// Runs as a child: all its workers (one) hang after the first sign of life.
#[tokio::test]
async fn hung() {
    if child::is("watchdog::hung") {
        telemetry::watchdog::spawn();
        tokio::time::sleep(Duration::from_millis(50)).await;
        loop {
            std::thread::park();
        }
    }
}

/// A supervisor that wants a sign of life every 0.2 s, and its child.
struct Supervisor {
    socket: UnixDatagram,
    child: Child,
    _dir: TempDir,
}

impl Supervisor {
    fn start(test: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let child = child::command(test)
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", "200000")
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            socket,
            child,
            _dir: dir,
        }
    }

    fn receive(&self, within: Duration) -> io::Result<String> {
        self.socket.set_read_timeout(Some(within))?;
        let mut buffer = [0; 256];
        let length = self.socket.recv(&mut buffer)?;
        Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

const SOON: Duration = Duration::from_secs(20);

#[test]
fn ready_is_followed_by_signs_of_life() {
    let supervisor = Supervisor::start("watchdog::supervised");
    for expected in ["READY=1\n", "WATCHDOG=1\n", "WATCHDOG=1\n", "WATCHDOG=1\n"] {
        assert_eq!(supervisor.receive(SOON).unwrap(), expected);
    }
}

#[test]
fn a_hung_runtime_gives_no_sign_of_life() {
    let supervisor = Supervisor::start("watchdog::hung");
    assert_eq!(supervisor.receive(SOON).unwrap(), "WATCHDOG=1\n");
    let silence = supervisor.receive(Duration::from_secs(2)).unwrap_err();
    assert_eq!(silence.kind(), io::ErrorKind::WouldBlock);
}
