//! Says why nothing fits, in the dimension that is short, so that a person knows what to add.

use domain::{name::Name, quantity::Bytes};

use crate::{
    model::{Amount, Liveness, Node, Phase, Snapshot},
    place::Board,
};

pub(crate) fn explain(
    board: &Board<'_>,
    snapshot: &Snapshot,
    region: &Name,
    needed: Amount,
) -> String {
    let nodes = snapshot.nodes.iter();
    let here: Vec<&Node> = nodes.filter(|node| node.region == *region).collect();
    let open: Vec<&Node> = board.open(region).collect();
    if here.is_empty() {
        return format!("{region} has no node: join one with an agent's join token");
    }
    if open.is_empty() {
        return format!("no node in {region} takes instances: {}", closed(&here));
    }
    let short_of_memory: Vec<u64> = open
        .iter()
        .map(|node| needed.memory.0.saturating_sub(board.free(node).memory.0))
        .filter(|short| *short > 0)
        .collect();
    let short_of_cpu: Vec<u32> = open
        .iter()
        .map(|node| needed.cpu.0.saturating_sub(board.free(node).cpu.0))
        .filter(|short| *short > 0)
        .collect();
    let shortage = if short_of_memory.len() >= short_of_cpu.len() {
        let least = short_of_memory.iter().min().copied().unwrap_or_default();
        sentence(
            region,
            &size(needed.memory),
            short_of_memory.len(),
            &size(Bytes(least)),
        )
    } else {
        let least = short_of_cpu.iter().min().copied().unwrap_or_default();
        sentence(
            region,
            &cores(needed.cpu.0),
            short_of_cpu.len(),
            &cores(least),
        )
    };
    shortage + &room_to_come(board, snapshot, region)
}

/// Instances of the service that were told to go hold their room until they have ended.
fn room_to_come(board: &Board<'_>, snapshot: &Snapshot, region: &Name) -> String {
    let leaving = snapshot.instances.iter().filter(|instance| {
        let node = board.node(instance.node_id);
        instance.phase == Phase::Leaving && node.is_some_and(|node| node.region == *region)
    });
    match leaving.count() {
        0 => String::new(),
        1 => "; waits for 1 old instance of this service to end there".to_owned(),
        count => format!("; waits for {count} old instances of this service to end there"),
    }
}

fn sentence(region: &Name, needed: &str, nodes: usize, short: &str) -> String {
    let nodes = if nodes == 1 {
        "1 node".to_owned()
    } else {
        format!("{nodes} nodes")
    };
    format!("no node in {region} with {needed} free; {nodes} short by {short}")
}

/// Each of them once, by what is to be mended first.
fn closed(nodes: &[&Node]) -> String {
    let count = |what: &str, test: fn(&Node) -> bool| {
        let count = nodes.iter().filter(|node| test(node)).count();
        (count > 0).then(|| format!("{count} {what}"))
    };
    [
        count("silent", is_silent),
        count("draining", |node| !is_silent(node) && node.draining),
        count("cordoned", |node| !is_silent(node) && !node.draining),
    ]
    .into_iter()
    .flatten()
    .collect::<Vec<_>>()
    .join(", ")
}

fn is_silent(node: &Node) -> bool {
    node.liveness != Liveness::Punctual
}

fn cores(millis: u32) -> String {
    format!("{} CPU", f64::from(millis) / 1000.0)
}

fn size(bytes: Bytes) -> String {
    const GIB: u64 = 1 << 30;
    const MIB: u64 = 1 << 20;
    if bytes.0 >= GIB && bytes.0.is_multiple_of(GIB) {
        format!("{} GiB", bytes.0 / GIB)
    } else {
        format!("{} MiB", bytes.0.div_ceil(MIB))
    }
}
