//! A private Redis: on a socket only, so that it shares no port with any other.

use std::path::PathBuf;

use super::{plan::Plan, process::Process};

/// Where control planes reach it.
pub fn socket(plan: &Plan) -> PathBuf {
    plan.run().join("redis.sock")
}

/// The server.
pub fn process(plan: &Plan) -> Process {
    let socket = socket(plan);
    let data = plan.data().join("redis");
    Process::new(
        "redis",
        10,
        [
            "redis-server",
            "--port",
            "0",
            "--unixsocket",
            &socket.display().to_string(),
            "--unixsocketperm",
            "700",
            "--dir",
            &data.display().to_string(),
            "--supervised",
            "systemd",
            "--save",
            "300 1",
        ],
    )
}
