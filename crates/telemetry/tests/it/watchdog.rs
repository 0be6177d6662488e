use std::{os::unix::net::UnixDatagram, process::Command, time::Duration};

const CHILD: &str = "RAILHEAD_TELEMETRY_WATCHDOG_CHILD";

/// Runs as a child of the test below, with a supervisor's environment.
#[tokio::test]
async fn supervised() {
    if std::env::var_os(CHILD).is_some() {
        telemetry::watchdog::ready();
        telemetry::watchdog::spawn();
        tokio::time::sleep(Duration::from_secs(30)).await;
    }
}

#[test]
fn ready_is_followed_by_signs_of_life() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let supervisor = UnixDatagram::bind(&path).unwrap();
    supervisor
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "watchdog::supervised"])
        .env(CHILD, "1")
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "200000")
        .env_remove("WATCHDOG_PID")
        .spawn()
        .unwrap();
    let messages: Vec<String> = (0..4).map(|_| receive(&supervisor)).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(
        messages,
        ["READY=1\n", "WATCHDOG=1\n", "WATCHDOG=1\n", "WATCHDOG=1\n"]
    );
}

fn receive(supervisor: &UnixDatagram) -> String {
    let mut buffer = [0; 256];
    let length = supervisor.recv(&mut buffer).unwrap();
    String::from_utf8(buffer[..length].to_vec()).unwrap()
}
