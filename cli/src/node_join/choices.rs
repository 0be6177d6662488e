//! What is decided about a node: given by the operator, kept from the last time, or made of the machine. Kept in
//! `/etc/railhead/node.json`, so that the next run decides the same.

use std::{net::Ipv4Addr, path::PathBuf};

use domain::{
    name::Name,
    quantity::{Bytes, MilliCpu},
};
use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Serialize};

use super::{
    error::{Error, Result},
    host::Host,
    options::Options,
};

/// Everything that was decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choices {
    /// What the node is called.
    pub name: Name,
    /// Where it is reached.
    pub address: Ipv4Addr,
    /// Where metrics are.
    pub metrics: Ipv4Addr,
    /// For workloads.
    pub cpu: MilliCpu,
    /// For workloads.
    pub memory: Bytes,
    /// Of containers, builds and what connects them: a /16.
    pub network: Ipv4Net,
    /// What workloads may not reach.
    pub denied: Vec<Ipv4Net>,
    /// Who says for users who they are.
    #[serde(default)]
    pub trusted_proxies: Vec<IpNet>,
    /// Says where edges count together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_redis_file: Option<PathBuf>,
    /// Say where addresses are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub geo_databases: Vec<PathBuf>,
    /// Absent: it builds nothing.
    pub build: Option<Build>,
}

/// What builds may take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// All of them together.
    pub cpu: MilliCpu,
    /// All of them together.
    pub memory: Bytes,
    /// Sources are fetched to the machine's disk, all else is on this one.
    pub disk: Bytes,
}

/// For the system, the agent, the edge and the engines.
const MEMORY_RESERVE: Bytes = Bytes::mebibytes(768);
const MEMORY_LEAST: Bytes = Bytes::mebibytes(256);
const BUILD_MEMORY_MOST: Bytes = Bytes::mebibytes(4096);
const BUILD_MEMORY_LEAST: Bytes = Bytes::mebibytes(512);
const BUILD_DISK_MOST: Bytes = Bytes::mebibytes(40 * 1024);
const BUILD_DISK_LEAST: Bytes = Bytes::mebibytes(4 * 1024);
/// Networks that rarely are in use; the first that is free here is taken.
const NETWORKS: [&str; 4] = [
    "10.208.0.0/16",
    "10.209.0.0/16",
    "172.28.0.0/16",
    "192.168.0.0/16",
];
const PRIVATE: [&str; 4] = [
    "10.0.0.0/8",
    "100.64.0.0/10",
    "172.16.0.0/12",
    "192.168.0.0/16",
];

impl Choices {
    /// Options win over what was decided before, and that over what the machine suggests.
    pub fn make(host: &Host, options: &Options) -> Result<Self> {
        let before = host.decided.as_ref();
        let build = match options.no_build || options.no_agent {
            true => None,
            false => Some(build(host, options, before)?),
        };
        let chosen = Self {
            name: name(host, options, before)?,
            address: address(host, options, before)?,
            metrics: (options.metrics_address)
                .or(before.map(|before| before.metrics))
                .unwrap_or(Ipv4Addr::LOCALHOST),
            cpu: (options.cpu)
                .or(before.map(|before| before.cpu))
                .unwrap_or_else(|| offered_cpu(host)),
            memory: match options.memory.or(before.map(|before| before.memory)) {
                Some(memory) => memory,
                None => offered_memory(host, build.as_ref())?,
            },
            network: network(host, options, before)?,
            denied: denied(options, before),
            trusted_proxies: given_or_kept(&options.trusted_proxies, before, |before| {
                &before.trusted_proxies
            }),
            limit_redis_file: (options.limit_redis_file.clone())
                .or_else(|| before.and_then(|before| before.limit_redis_file.clone())),
            geo_databases: given_or_kept(&options.geo_database, before, |before| {
                &before.geo_databases
            }),
            build,
        };
        chosen.check(host)?;
        Ok(chosen)
    }

    fn check(&self, host: &Host) -> Result {
        let cores = f64::from(host.cpus);
        if self.cpu.cores() > cores || self.cpu.0 == 0 {
            return Err(Error::TooSmall(format!(
                "{} of its {cores} CPU cores can't be offered to workloads",
                self.cpu
            )));
        }
        if self.memory > host.memory {
            return Err(Error::TooSmall(format!(
                "{} of its {} memory can't be offered to workloads",
                self.memory,
                whole_mebibytes(host.memory)
            )));
        }
        Ok(())
    }
}

/// A list that was given, else the one from before.
fn given_or_kept<T: Clone>(
    given: &[T],
    before: Option<&Choices>,
    kept: impl FnOnce(&Choices) -> &Vec<T>,
) -> Vec<T> {
    match (given, before) {
        ([], Some(before)) => kept(before).clone(),
        (given, _) => given.to_vec(),
    }
}

fn name(host: &Host, options: &Options, before: Option<&Choices>) -> Result<Name> {
    if let Some(name) = options.name.as_ref().or(before.map(|before| &before.name)) {
        return Ok(name.clone());
    }
    let label = host.name.split('.').next().unwrap_or_default();
    label
        .to_ascii_lowercase()
        .parse()
        .map_err(|error| Error::Undecided {
            what: format!("the host name \"{label}\" is no name of a node: {error}"),
            option: "--name NAME",
        })
}

fn address(host: &Host, options: &Options, before: Option<&Choices>) -> Result<Ipv4Addr> {
    let address = options
        .address
        .or(before.map(|before| before.address))
        .or(host.address);
    let undecided = |what| Error::Undecided {
        what,
        option: "--address ADDRESS",
    };
    let address = address.ok_or_else(|| {
        undecided("the machine has no IPv4 address towards the control plane".into())
    })?;
    if !host.addresses.contains(&address) {
        return Err(undecided(format!(
            "{address} is no address of this machine"
        )));
    }
    Ok(address)
}

/// All cores but a tenth of them, at least half a core.
fn offered_cpu(host: &Host) -> MilliCpu {
    let all = host.cpus.saturating_mul(1000);
    MilliCpu(all.saturating_sub((all / 10).max(500)))
}

fn offered_memory(host: &Host, build: Option<&Build>) -> Result<Bytes> {
    let builds = build.map_or(0, |build| build.memory.0);
    let kept = MEMORY_RESERVE.0 + host.memory.0 / 20 + builds;
    let left = whole_mebibytes(Bytes(host.memory.0.saturating_sub(kept)));
    if left < MEMORY_LEAST {
        return Err(Error::TooSmall(format!(
            "of {} memory, {left} are left for workloads",
            whole_mebibytes(host.memory)
        )));
    }
    Ok(left)
}

/// Half of the cores, a quarter of the memory and of the free disk, within bounds.
fn build(host: &Host, options: &Options, before: Option<&Choices>) -> Result<Build> {
    if let (Some(build), None) = (
        before.and_then(|before| before.build.clone()),
        options.build_disk,
    ) {
        return Ok(build);
    }
    let memory = Bytes((host.memory.0 / 4).clamp(BUILD_MEMORY_LEAST.0, BUILD_MEMORY_MOST.0));
    let suggested = whole_mebibytes(Bytes((host.disk_free.0 / 4).min(BUILD_DISK_MOST.0)));
    let disk = options.build_disk.unwrap_or(suggested);
    if disk < BUILD_DISK_LEAST || disk > host.disk_free {
        return Err(Error::TooSmall(format!(
            "builds need a disk of at least {BUILD_DISK_LEAST}; {disk} of {} free would be theirs",
            whole_mebibytes(host.disk_free)
        )));
    }
    Ok(Build {
        cpu: MilliCpu((host.cpus.saturating_mul(500)).max(1000)),
        memory: whole_mebibytes(memory),
        disk,
    })
}

fn network(host: &Host, options: &Options, before: Option<&Choices>) -> Result<Ipv4Net> {
    let undecided = |what| Error::Undecided {
        what,
        option: "--container-network NETWORK",
    };
    if let Some(network) = options.container_network {
        if network.prefix_len() != 16 || network.trunc() != network {
            return Err(undecided(format!("{network} is no /16")));
        }
        return Ok(network);
    }
    if let Some(before) = before {
        return Ok(before.network);
    }
    let mut candidates = NETWORKS
        .iter()
        .filter_map(|text| text.parse::<Ipv4Net>().ok());
    let is_free = |candidate: &Ipv4Net| !host.networks.iter().any(|used| overlap(used, candidate));
    candidates
        .find(is_free)
        .ok_or_else(|| undecided(format!("none of {} is free here", NETWORKS.join(", "))))
}

/// A route to all of 10.0.0.0/8 leaves no room in it that nobody uses.
fn overlap(one: &Ipv4Net, other: &Ipv4Net) -> bool {
    one.contains(other) || other.contains(one)
}

fn denied(options: &Options, before: Option<&Choices>) -> Vec<Ipv4Net> {
    if !options.denied.is_empty() {
        return options.denied.clone();
    }
    match before {
        Some(before) => before.denied.clone(),
        None => PRIVATE
            .iter()
            .filter_map(|text| text.parse().ok())
            .collect(),
    }
}

fn whole_mebibytes(bytes: Bytes) -> Bytes {
    Bytes::mebibytes(bytes.0 >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node_join::samples::host;

    #[test]
    fn a_small_machine_offers_what_is_left_and_a_tiny_one_is_refused() {
        let chosen = Choices::make(&host(), &Options::default()).unwrap();
        assert_eq!(
            (chosen.cpu, chosen.memory),
            (MilliCpu(3500), Bytes::mebibytes(4966))
        );
        assert_eq!(
            chosen.network.to_string(),
            "10.209.0.0/16",
            "10.208 is in use"
        );
        let tiny = Host {
            memory: Bytes::mebibytes(1024),
            ..host()
        };
        let error = Choices::make(&tiny, &Options::default()).unwrap_err();
        assert_eq!(error.code(), "machine_too_small", "{error}");
    }

    #[test]
    fn what_was_decided_stays_until_an_option_changes_it() {
        let first = Choices::make(&host(), &Options::default()).unwrap();
        let later = Host {
            name: "renamed".into(),
            disk_free: Bytes::mebibytes(5000),
            networks: vec![first.network],
            decided: Some(first.clone()),
            ..host()
        };
        assert_eq!(Choices::make(&later, &Options::default()).unwrap(), first);
        let options = Options {
            cpu: Some(MilliCpu(1000)),
            trusted_proxies: vec!["10.0.0.10/32".parse().unwrap()],
            limit_redis_file: Some("/etc/railhead/limit.redis".into()),
            geo_database: vec!["/usr/share/GeoIP/countries.mmdb".into()],
            ..Options::default()
        };
        let changed = Choices {
            cpu: MilliCpu(1000),
            trusted_proxies: options.trusted_proxies.clone(),
            limit_redis_file: options.limit_redis_file.clone(),
            geo_databases: options.geo_database.clone(),
            ..first
        };
        assert_eq!(Choices::make(&later, &options).unwrap(), changed);
        let later = Host {
            decided: Some(changed.clone()),
            ..later
        };
        assert_eq!(Choices::make(&later, &Options::default()).unwrap(), changed);
    }

    #[test]
    fn what_can_not_be_decided_names_the_option() {
        for (host, option) in [
            (
                Host {
                    name: "_".into(),
                    ..host()
                },
                "--name NAME",
            ),
            (
                Host {
                    address: None,
                    ..host()
                },
                "--address ADDRESS",
            ),
            (
                Host {
                    networks: vec![
                        "10.0.0.0/8".parse().unwrap(),
                        "172.16.0.0/12".parse().unwrap(),
                        "192.168.0.0/16".parse().unwrap(),
                    ],
                    ..host()
                },
                "--container-network NETWORK",
            ),
        ] {
            let error = Choices::make(&host, &Options::default()).unwrap_err();
            assert!(error.advice().contains(option), "{error}");
        }
    }
}
