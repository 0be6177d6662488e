//! Images and ports that can't work: each says with a code what to do, and nothing is retried hot.

use agent::runtime::architecture;
use domain::{id::EnvironmentId, quantity::Span, spec::Probe};
use protocol::item::{InstanceItem, RunMode};

use super::{
    machine::{Machine, on_a_machine},
    node::{Node, web, worker},
};

const SLEEP: &[&str] = &["sleep", "600"];

#[test]
fn each_gets_a_clear_error() {
    on_a_machine(async |machine: Machine| {
        let root = machine.image("root", "", SLEEP, architecture()).await;
        let arm = machine
            .image("other", "1000", SLEEP, other_architecture())
            .await;
        let idle = machine.image("idle", "1000", SLEEP, architecture()).await;
        let node = Node::start(machine);
        let as_root = web(&root, EnvironmentId::new());
        let for_others = web(&arm, EnvironmentId::new());
        let missing = web(
            &format!("{}0", &idle[..idle.len() - 1]),
            EnvironmentId::new(),
        );
        let silent = impatient(web(&idle, EnvironmentId::new()));
        let no_program = worker(&idle, &["no-such-program"]);
        node.want(&[&as_root, &for_others, &missing, &silent, &no_program]);

        let message = node.problem(&as_root, "image_runs_as_root").await;
        assert!(
            message.contains("deploy.confinement = \"baseline\""),
            "{message}"
        );
        let message = node.problem(&for_others, "wrong_architecture").await;
        assert!(message.contains("build it for linux/"), "{message}");
        node.problem(&missing, "image_missing").await;
        let message = node.problem(&silent, "startup_probe_failed").await;
        assert!(
            message.contains("nothing listens on port 8080") && message.contains("network.port"),
            "{message}"
        );
        let message = node.problem(&no_program, "exited").await;
        assert!(
            message.contains("exit code 127 (no such command in the image)"),
            "{message}"
        );
    });
}

fn other_architecture() -> &'static str {
    if architecture() == "amd64" {
        "arm64"
    } else {
        "amd64"
    }
}

fn impatient(item: InstanceItem) -> InstanceItem {
    let startup = Probe {
        path: None,
        interval: Span::seconds(1),
        timeout: Span::seconds(1),
        failures: 2,
    };
    InstanceItem {
        run: RunMode::Service {
            startup: Some(startup),
            readiness: None,
            liveness: None,
        },
        ..item
    }
}
