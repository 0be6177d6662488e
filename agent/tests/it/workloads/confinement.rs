//! What a workload can't do, and what it must be able to do.

use std::net::SocketAddr;

use agent::runtime::architecture;
use domain::{id::EnvironmentId, spec::Confinement};

use super::{
    machine::{Machine, on_a_machine},
    node::{Node, web},
    outside::{ADDRESS, DENIED, METADATA, OUTSIDE},
    process::exec,
};

const SERVER: &[&str] = &["httpd", "-f", "-p", "8080", "-h", "/www"];

#[test]
fn a_workload_has_its_limits_and_reaches_its_own_environment_and_the_internet_only() {
    on_a_machine(async |machine: Machine| {
        let image = machine.image("web", "1000", SERVER, architecture()).await;
        let node = Node::start(machine);
        let here = web(&image, EnvironmentId::new());
        let beside = web(&image, here.environment_id);
        let elsewhere = web(&image, EnvironmentId::new());
        let stock = domain_item_baseline(&image);
        node.want(&[&here, &beside, &elsewhere, &stock]);
        let address = node.ready(&here).await;
        node.ready(&beside).await;
        let elsewhere_address = node.ready(&elsewhere).await;
        node.ready(&stock).await;

        answers_from_outside(address);
        is_confined(&node, &here).await;
        has_stock_capabilities(&node, &stock).await;
        names_answer(&node, &here).await;
        let foreign_ip = container_ip(&node, &elsewhere).await;
        let gateway = foreign_ip.rsplit_once('.').unwrap().0.to_owned() + ".1";
        let closed = [
            format!("{ADDRESS}:80"),
            format!("{ADDRESS}:5000"),
            format!("{address}"),
            format!("{elsewhere_address}"),
            format!("{gateway}:80"),
            format!("{foreign_ip}:8080"),
            format!("{DENIED}:80"),
            format!("{METADATA}:80"),
            "172.31.255.1:80".to_owned(),
        ];
        for target in closed {
            assert!(
                !connects(&node, &here, &target).await,
                "connected to {target}"
            );
        }
        assert!(
            connects(&node, &here, &format!("{OUTSIDE}:80")).await,
            "no internet"
        );
    });
}

fn domain_item_baseline(image: &str) -> protocol::item::InstanceItem {
    protocol::item::InstanceItem {
        confinement: Confinement::Baseline,
        ..web(image, EnvironmentId::new())
    }
}

/// From beyond the wire, as from an edge on another machine of the region.
fn answers_from_outside(address: SocketAddr) {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("hello"), "{answer}");
}

async fn is_confined(node: &Node, item: &protocol::item::InstanceItem) {
    let status = status(node, item).await;
    for line in [
        "CapEff:\t0000000000000000",
        "CapBnd:\t0000000000000000",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
        "Uid:\t1000",
    ] {
        assert!(status.contains(line), "{line} not in {status}");
    }
    let found = node
        .machine
        .client()
        .inspect_container(&format!("rh-{}", item.id), None)
        .await
        .unwrap();
    let host = found.host_config.unwrap();
    assert_eq!(
        (host.memory, host.memory_swap),
        (Some(64 << 20), Some(64 << 20))
    );
    assert_eq!(
        (host.nano_cpus, host.pids_limit),
        (Some(250_000_000), Some(64))
    );
    let (environment, _) = exec(&node.machine.client(), item.id, &["busybox", "env"]).await;
    assert!(environment.contains("SECRET=s3cret") && environment.contains("PORT=8080"));
}

/// Docker's default set is a80425fb; without `NET_RAW` (2000) and `MKNOD` (8000000) it is a00405fb.
async fn has_stock_capabilities(node: &Node, item: &protocol::item::InstanceItem) {
    let status = status(node, item).await;
    assert!(status.contains("CapBnd:\t00000000a00405fb"), "{status}");
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");
}

async fn status(node: &Node, item: &protocol::item::InstanceItem) -> String {
    let pid = node.machine.pid(item.id).await;
    std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap()
}

async fn names_answer(node: &Node, item: &protocol::item::InstanceItem) {
    let client = node.machine.client();
    let (answer, _) = exec(
        &client,
        item.id,
        &["timeout", "3", "wget", "-O-", "http://web.internal:8080/"],
    )
    .await;
    assert!(answer.contains("hello"), "{answer}");
    let (answer, _) = exec(&client, item.id, &["nslookup", "web.internal"]).await;
    let addresses = answer
        .lines()
        .filter(|line| line.contains("172.30."))
        .count();
    assert_eq!(
        addresses, 2,
        "both instances of the environment and no other: {answer}"
    );
}

async fn container_ip(node: &Node, item: &protocol::item::InstanceItem) -> String {
    let found = node
        .machine
        .client()
        .inspect_container(&format!("rh-{}", item.id), None)
        .await
        .unwrap();
    let networks = found.network_settings.unwrap().networks.unwrap();
    networks.into_values().next().unwrap().ip_address.unwrap()
}

/// Any answer counts, also a refusal by the machine itself: then a packet came through.
async fn connects(node: &Node, item: &protocol::item::InstanceItem, target: &str) -> bool {
    let url = format!("http://{target}/");
    let (answer, code) = exec(
        &node.machine.client(),
        item.id,
        &["timeout", "2", "wget", "-O-", &url],
    )
    .await;
    code == 0 || answer.contains("refused") || answer.contains("server returned")
}
