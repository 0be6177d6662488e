//! What crashes, and what goes on.

use agent::runtime::architecture;
use domain::{id::EnvironmentId, instance::State, quantity::Span};
use protocol::item::InstanceItem;

use super::{
    machine::{Machine, on_a_machine},
    node::{Node, once, web, worker},
    process::until,
};

const SERVER: &[&str] = &["httpd", "-f", "-p", "8080", "-h", "/www"];
const SLEEP: &[&str] = &["sleep", "600"];

#[test]
fn containers_outlive_the_agent_and_the_engine_and_are_adopted() {
    on_a_machine(async |machine: Machine| {
        let image = machine.image("web", "1000", SERVER, architecture()).await;
        let mut node = Node::start(machine);
        let item = web(&image, EnvironmentId::new());
        node.want(&[&item]);
        let address = node.ready(&item).await;
        let pid = node.machine.pid(item.id).await;

        node.machine.kill_engine().await;
        node.restart();
        assert_eq!(
            node.report(item.id).unwrap().address,
            Some(address),
            "known without the engine"
        );
        assert!(
            std::net::TcpStream::connect(address).is_ok(),
            "serves without engine and agent"
        );

        node.machine.start_engine().await;
        node.ready(&item).await;
        assert_eq!(node.machine.pid(item.id).await, pid, "the same process");
        assert_eq!(node.report(item.id).unwrap().restarts, 0);
    });
}

#[test]
fn a_program_that_dies_is_started_again_and_one_that_hangs_too() {
    on_a_machine(async |machine: Machine| {
        let image = machine.image("web", "1000", SERVER, architecture()).await;
        let node = Node::start(machine);
        let item = web(&image, EnvironmentId::new());
        node.want(&[&item]);
        let address = node.ready(&item).await;
        kill(&node, &item, nix::sys::signal::Signal::SIGKILL).await;
        let report = node
            .until("restarted", item.id, |report| {
                report.restarts == 1 && report.ready
            })
            .await;
        assert_eq!(
            (report.address, report.exit_code),
            (Some(address), Some(137))
        );

        // The first process is the engine's init; its child is the program.
        kill_child(&node, &item, nix::sys::signal::Signal::SIGSTOP).await;
        node.until("unrouted", item.id, |report| !report.ready)
            .await;
        let report = node
            .until("restarted", item.id, |report| {
                report.restarts == 2 && report.ready
            })
            .await;
        assert_eq!(report.state, State::Running);
    });
}

async fn kill(node: &Node, item: &InstanceItem, signal: nix::sys::signal::Signal) {
    let pid = i32::try_from(node.machine.pid(item.id).await).unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).unwrap();
}

async fn kill_child(node: &Node, item: &InstanceItem, signal: nix::sys::signal::Signal) {
    let pid = node.machine.pid(item.id).await;
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    let child: i32 = children.split_whitespace().next().unwrap().parse().unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(child), signal).unwrap();
}

#[test]
fn the_logs_of_a_container_that_is_gone_arrive_once_the_control_plane_is_back() {
    on_a_machine(async |machine: Machine| {
        let image = machine.image("job", "1000", SLEEP, architecture()).await;
        let mut node = Node::start(machine);
        *node.platform.up.lock().unwrap() = false;
        let script = "for i in $(seq 300); do echo line $i; done; exit 3";
        let item = once(&image, &["sh", "-c", script], Span::seconds(30));
        node.want(&[&item]);
        let report = node
            .until("ended", item.id, |report| report.state == State::Stopped)
            .await;
        assert_eq!(report.exit_code, Some(3));
        node.want(&[]);
        gone(&node, &item).await;
        node.restart();
        *node.platform.up.lock().unwrap() = true;
        let lines = until("all lines", async || {
            Some(node.platform.lines(item.id)).filter(|lines| lines.len() >= 300)
        })
        .await;
        let expected: Vec<String> = (1..=300).map(|n| format!("line {n}")).collect();
        assert_eq!(lines, expected);
    });
}

#[test]
fn a_command_that_takes_too_long_is_ended_and_a_worker_drains() {
    on_a_machine(async |machine: Machine| {
        let image = machine.image("job", "1000", SLEEP, architecture()).await;
        let node = Node::start(machine);
        let endless = once(&image, &["sleep", "600"], Span::seconds(2));
        let script = "trap 'echo bye; exit 0' TERM; echo up; while true; do sleep 1; done";
        let polite = worker(&image, &["sh", "-c", script]);
        node.want(&[&endless, &polite]);
        let message = node.problem(&endless, "timed_out").await;
        assert!(message.contains("2s"), "{message}");
        node.until("running", polite.id, |report| report.ready)
            .await;
        until("it has said that it is up", async || {
            node.platform
                .lines(polite.id)
                .contains(&"up".to_owned())
                .then_some(())
        })
        .await;
        node.want(&[]);
        let report = node
            .until("stopped", polite.id, |report| {
                report.state == State::Stopped
            })
            .await;
        assert_eq!(
            report.exit_code,
            Some(0),
            "it ended by itself within its grace"
        );
        gone(&node, &polite).await;
        until("its last words", async || {
            node.platform
                .lines(polite.id)
                .contains(&"bye".to_owned())
                .then_some(())
        })
        .await;
    });
}

async fn gone(node: &Node, item: &InstanceItem) {
    let client = node.machine.client();
    until("the container is removed", async || {
        let found = client
            .inspect_container(&format!("rh-{}", item.id), None)
            .await;
        found.is_err().then_some(())
    })
    .await;
}
