//! Looks at the machine. Reads only.

use std::{
    collections::BTreeMap,
    fs, io,
    net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs as _, UdpSocket},
    path::Path,
};

use domain::quantity::Bytes;
use ipnet::Ipv4Net;
use protocol::join::Role;
use serde::Deserialize;

use super::{
    choices::Choices,
    error::{Error, Result},
    host::{Host, Identity},
    paths,
    platform::Platform,
    system,
};

/// The machine as it is now.
pub fn host(platform: &Platform) -> Result<Host> {
    let decided: Option<Choices> = read_json(Path::new(paths::NODE))?;
    let hostname = Path::new("/proc/sys/kernel/hostname");
    Ok(Host {
        name: read(hostname)?.unwrap_or_default().trim().to_owned(),
        cpus: cpus()?,
        memory: memory()?,
        disk_free: disk_free()?,
        address: address_towards(platform),
        addresses: addresses()?,
        networks: networks()?,
        resolvers: resolvers()?,
        registry: registry(platform)?,
        decided,
        identities: identities()?,
    })
}

/// Nodes that this machine is already.
pub fn identities() -> Result<BTreeMap<Role, Identity>> {
    let mut found = BTreeMap::new();
    for role in [Role::Agent, Role::Edge] {
        let path = Path::new(&paths::state_dir(role.as_str())).join("identity.json");
        let identity: Option<protocol::join::Identity> = read_json(&path)?;
        found.extend(identity.map(|identity| {
            let identity = Identity {
                node: identity.node_id,
                region: identity.region,
                ca: identity.ca,
            };
            (role, identity)
        }));
    }
    Ok(found)
}

fn cpus() -> Result<u32> {
    let cpus = std::thread::available_parallelism().map_err(Error::file("count", "CPUs"))?;
    Ok(u32::try_from(cpus.get()).unwrap_or(u32::MAX))
}

fn memory() -> Result<Bytes> {
    let path = Path::new("/proc/meminfo");
    let text = read(path)?.unwrap_or_default();
    let total = text.lines().find_map(|line| {
        let line = line.strip_prefix("MemTotal:")?.trim();
        line.strip_suffix(" kB")?.trim().parse::<u64>().ok()
    });
    let total = total.ok_or_else(|| unusable(path, "it has no MemTotal"))?;
    Ok(Bytes(total << 10))
}

/// Where state will be, or the nearest folder above that is there already.
fn disk_free() -> Result<Bytes> {
    let wanted = Path::new(paths::STATE);
    let folder = wanted.ancestors().find(|folder| folder.exists());
    let folder = folder.unwrap_or(Path::new("/"));
    let found = nix::sys::statvfs::statvfs(folder)
        .map_err(|errno| Error::file("measure", folder)(errno.into()))?;
    Ok(Bytes(found.blocks_available() * found.fragment_size()))
}

/// Which of its addresses the machine would send from. Nothing is sent.
fn address_towards(platform: &Platform) -> Option<Ipv4Addr> {
    let targets = platform.control_plane.socket_addrs(|| None).ok()?;
    let target = targets.into_iter().find(SocketAddr::is_ipv4)?;
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect(target).ok()?;
    match socket.local_addr().ok()?.ip() {
        IpAddr::V4(address) if !address.is_loopback() => Some(address),
        _ => None,
    }
}

/// An interface as `ip -json address` shows it.
#[derive(Deserialize)]
struct Interface {
    ifname: String,
    #[serde(default)]
    addr_info: Vec<Address>,
}

#[derive(Deserialize)]
struct Address {
    #[serde(default)]
    local: Option<Ipv4Addr>,
}

/// A route as `ip -json route` shows it.
#[derive(Deserialize)]
struct Route {
    dst: String,
    #[serde(default)]
    dev: String,
}

fn addresses() -> Result<Vec<Ipv4Addr>> {
    let interfaces: Vec<Interface> = ip_json(&["address"])?;
    let own = interfaces
        .into_iter()
        .filter(|found| !is_engines(&found.ifname));
    let addresses = own
        .flat_map(|found| found.addr_info)
        .filter_map(|info| info.local);
    Ok(addresses.filter(|address| !address.is_loopback()).collect())
}

fn networks() -> Result<Vec<Ipv4Net>> {
    let routes: Vec<Route> = ip_json(&["route"])?;
    let routes = routes.into_iter().filter(|route| !is_engines(&route.dev));
    Ok(routes
        .filter_map(|route| {
            let host = || route.dst.parse::<Ipv4Addr>().ok().map(Ipv4Net::from);
            route.dst.parse().ok().or_else(host)
        })
        .collect())
}

/// Interfaces that engines make: they come and go, and change no decision.
fn is_engines(name: &str) -> bool {
    let made = ["docker", "br-", "rh-", "veth"];
    name == super::build_network::NAMESPACE || made.iter().any(|prefix| name.starts_with(prefix))
}

fn ip_json<T: serde::de::DeserializeOwned>(what: &[&str]) -> Result<Vec<T>> {
    let arguments = [&["-4", "-json"], what].concat();
    let text = system::run("ip", &arguments)?;
    serde_json::from_str(&text).map_err(|error| Error::Command {
        command: format!("ip {}", arguments.join(" ")),
        reason: error.to_string(),
    })
}

/// The machine's name servers, past a stub resolver on it.
fn resolvers() -> Result<Vec<Ipv4Addr>> {
    for path in ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"] {
        let found = name_servers(&read(Path::new(path))?.unwrap_or_default());
        if !found.is_empty() {
            return Ok(found);
        }
    }
    Ok(Vec::new())
}

fn name_servers(text: &str) -> Vec<Ipv4Addr> {
    let servers = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver"));
    let servers = servers.filter_map(|server| server.trim().parse::<Ipv4Addr>().ok());
    servers.filter(|server| !server.is_loopback()).collect()
}

fn registry(platform: &Platform) -> Result<Vec<Ipv4Addr>> {
    let registry = platform.registry.as_str();
    let with_port = if registry.contains(':') {
        registry.to_owned()
    } else {
        format!("{registry}:443")
    };
    let unknown = |reason: String| Error::Undecided {
        what: format!(
            "the platform's registry {registry} has no IPv4 address that is known here: {reason}"
        ),
        option: "its name in DNS or in /etc/hosts",
    };
    let found = with_port
        .to_socket_addrs()
        .map_err(|error| unknown(error.to_string()))?;
    let mut addresses: Vec<Ipv4Addr> = found
        .filter_map(|address| match address.ip() {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        })
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    if addresses.is_empty() {
        return Err(unknown("it has others only".into()));
    }
    Ok(addresses)
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let Some(text) = read(path)? else {
        return Ok(None);
    };
    let read = serde_json::from_str(&text);
    read.map(Some)
        .map_err(|error| unusable(path, &error.to_string()))
}

/// None when it is not there.
fn read(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::file("read", path)(error)),
    }
}

fn unusable(path: &Path, reason: &str) -> Error {
    Error::file("use", path)(io::Error::new(
        io::ErrorKind::InvalidData,
        reason.to_owned(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stub_resolver_is_no_name_server_for_others() {
        let text = "# made by resolved\nnameserver 127.0.0.53\noptions edns0\n";
        assert_eq!(name_servers(text), [] as [Ipv4Addr; 0]);
        let text = "search example.com\nnameserver 192.0.2.53\nnameserver 2001:db8::1\n";
        assert_eq!(
            name_servers(text),
            ["192.0.2.53".parse::<Ipv4Addr>().unwrap()]
        );
    }
}
