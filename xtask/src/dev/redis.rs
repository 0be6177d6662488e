//! A private Redis: on a socket only, so that it shares no port with any other.

use super::{plan::Plan, process::Process};

/// The server.
pub fn process(plan: &Plan) -> Process {
    let socket = plan.run().join("redis.sock");
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
