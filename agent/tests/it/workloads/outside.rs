//! Another machine beyond a wire, with addresses that workloads may and may not reach.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use super::process::{PATIENCE, Process, run, spawn};

/// Where host ports are published, and where the outside is.
pub const ADDRESS: &str = "198.51.100.1";
pub const OUTSIDE: &str = "198.51.100.2";
/// Beyond the wire too, and denied to workloads.
pub const DENIED: &str = "10.96.0.1";
pub const METADATA: &str = "169.254.169.254";

/// Starts it; it answers HTTP on every address of its own.
pub fn start(folder: &Path) -> Process {
    let www = folder.join("www");
    std::fs::create_dir(&www).unwrap();
    std::fs::write(www.join("index.html"), "outside").unwrap();
    let outside = spawn(
        "unshare",
        &[
            "--net",
            "busybox",
            "httpd",
            "-f",
            "-p",
            "80",
            "-h",
            www.to_str().unwrap(),
        ],
        &folder.join("outside.log"),
    );
    let pid = outside.0.id().to_string();
    // Until `unshare` has made the namespace, the wire would end here.
    let end = Instant::now() + PATIENCE;
    let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net")).unwrap();
    while namespace(&pid) == namespace("thread-self") {
        assert!(Instant::now() < end, "no namespace for the outside");
        std::thread::sleep(Duration::from_millis(10));
    }
    run(
        "ip",
        &[
            "link", "add", "wire", "type", "veth", "peer", "name", "wire", "netns", &pid,
        ],
    );
    run(
        "ip",
        &["addr", "add", &format!("{ADDRESS}/24"), "dev", "wire"],
    );
    run("ip", &["link", "set", "wire", "up"]);
    run("ip", &["route", "add", "default", "via", OUTSIDE]);
    let there = |arguments: &[&str]| {
        let net = format!("--net=/proc/{pid}/ns/net");
        run("nsenter", &[&[net.as_str(), "ip"], arguments].concat());
    };
    for address in [OUTSIDE, DENIED, METADATA] {
        there(&["addr", "add", &format!("{address}/24"), "dev", "wire"]);
    }
    there(&["link", "set", "lo", "up"]);
    there(&["link", "set", "wire", "up"]);
    there(&["route", "add", "default", "via", ADDRESS]);
    outside
}
