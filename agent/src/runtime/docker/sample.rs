//! What a container uses, from its control groups.

use bollard::{
    Docker,
    models::{ContainerMemoryStats, ContainerStatsResponse},
    query_parameters::StatsOptionsBuilder,
};
use domain::{id::InstanceId, quantity::Bytes};
use futures::StreamExt;

use super::{Error, container_name, failed};
use crate::runtime::Sample;

pub(super) async fn take(client: &Docker, instance: InstanceId) -> Result<Sample, Error> {
    let options = StatsOptionsBuilder::new()
        .stream(false)
        .one_shot(true)
        .build();
    let mut stats = client
        .stats(&container_name(instance), Some(options))
        .boxed();
    match stats.next().await {
        Some(Ok(stats)) => Ok(sample(stats)),
        Some(Err(error)) => Err(failed("tell what a container uses")(error)),
        None => Ok(Sample::default()),
    }
}

fn sample(stats: ContainerStatsResponse) -> Sample {
    let networks = stats.networks.unwrap_or_default();
    let total = |bytes: fn(&bollard::models::ContainerNetworkStats) -> Option<u64>| {
        Bytes(networks.values().filter_map(bytes).sum())
    };
    Sample {
        cpu_ns: stats
            .cpu_stats
            .and_then(|cpu| cpu.cpu_usage)
            .and_then(|usage| usage.total_usage)
            .unwrap_or(0),
        memory: stats.memory_stats.map_or(Bytes(0), working_set),
        received: total(|network| network.rx_bytes),
        sent: total(|network| network.tx_bytes),
    }
}

/// Usage without the file cache that the kernel would give back at once; its name differs
/// between control groups v1 and v2.
fn working_set(memory: ContainerMemoryStats) -> Bytes {
    let stats = memory.stats.unwrap_or_default();
    let cache = stats
        .get("total_inactive_file")
        .or_else(|| stats.get("inactive_file"))
        .copied()
        .unwrap_or(0);
    Bytes(memory.usage.unwrap_or(0).saturating_sub(cache))
}
