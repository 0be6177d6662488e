//! What the zone shall say, from what is known of the edges. Pure. An edge that has gone silent is taken out as
//! long as another answers in its place; with the last one gone what is there stays.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use domain::name::Name;

use super::record::{Check, Key, Kind, Place, RecordSet, Routing};

/// Addresses of one set; resolvers use few of them, and an answer shall fit into a packet.
pub const ADDRESSES: usize = 32;

/// Names of regions stand below this label of the platform's domain. No service is called so: its hostname has
/// the project's name in it.
const REGIONS: &str = "edge";

/// One edge, as the control plane sees it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    /// Where it stands.
    pub region: Name,
    /// Where users reach it.
    pub address: IpAddr,
    /// It reports, and is not being emptied.
    pub is_live: bool,
}

/// How users are told apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// Not at all: everybody gets the same addresses.
    Plain,
    /// By where they are.
    ByPlace {
        /// Which users each region's edges are for.
        places: BTreeMap<Name, Vec<Place>>,
        /// Whether there is a set for everybody else. By latency there is none: one region is always the nearest.
        has_default: bool,
        /// The platform's domain, which the regions' own names are below.
        domain: String,
        /// The port of edges that the provider checks.
        check_port: u16,
    },
}

/// One set of records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Goal {
    /// It shall say this.
    Set(RecordSet),
    /// Nothing better is known than what it says.
    Keep(Key),
}

impl Goal {
    /// Which set.
    #[must_use]
    pub fn key(&self) -> Key {
        match self {
            Self::Set(set) => set.key(),
            Self::Keep(key) => key.clone(),
        }
    }
}

/// What the zone shall say of these names, with answers that live `ttl` seconds.
#[must_use]
pub fn goals(edges: &[Edge], names: &[String], shape: &Shape, ttl: u32) -> Vec<Goal> {
    let all: Vec<&Edge> = edges.iter().collect();
    let mut goals = Vec::new();
    for name in names {
        let before = goals.len();
        match shape {
            Shape::Plain => goals.extend(whole(&all, name, &Routing::Simple, ttl)),
            Shape::ByPlace { has_default, .. } => {
                if *has_default {
                    goals.extend(whole(&all, name, &default_routing(), ttl));
                }
                goals.extend(by_place(edges, name, shape, ttl));
            }
        }
        // A name that is wanted keeps what it has when nothing can be said of it.
        if goals.len() == before {
            goals.push(Goal::Keep(
                set(name, Kind::A, &default_routing(), ttl).key(),
            ));
        }
    }
    goals.extend(regions(edges, shape, ttl));
    goals
}

/// Regions with edges that no user is sent to.
#[must_use]
pub fn unplaced(edges: &[Edge], shape: &Shape) -> BTreeSet<Name> {
    match shape {
        Shape::ByPlace {
            places,
            has_default: false,
            ..
        } => edges
            .iter()
            .map(|edge| edge.region.clone())
            .filter(|region| !places.contains_key(region))
            .collect(),
        Shape::Plain | Shape::ByPlace { .. } => BTreeSet::new(),
    }
}

/// A region's own name, which the provider checks.
#[must_use]
pub fn region_name(region: &Name, domain: &str) -> String {
    format!("{region}.{REGIONS}.{domain}")
}

fn default_routing() -> Routing {
    Routing::By {
        id: "default".to_owned(),
        place: Place::Default,
        check: None,
    }
}

fn by_place(edges: &[Edge], name: &str, shape: &Shape, ttl: u32) -> Vec<Goal> {
    let Shape::ByPlace {
        places,
        domain,
        check_port,
        ..
    } = shape
    else {
        return Vec::new();
    };
    let mut goals = Vec::new();
    for (region, places) in places {
        let here = of_region(edges, region);
        // The provider looks up IPv4 addresses only.
        let check = here
            .iter()
            .any(|edge| edge.address.is_ipv4())
            .then(|| Check::Tcp {
                host: region_name(region, domain),
                port: *check_port,
            });
        for place in places {
            let routing = Routing::By {
                id: format!("{region} {place}"),
                place: place.clone(),
                check: check.clone(),
            };
            goals.extend(families(&here, name, &routing, ttl));
        }
    }
    goals
}

/// The names of regions themselves.
fn regions(edges: &[Edge], shape: &Shape, ttl: u32) -> Vec<Goal> {
    let Shape::ByPlace { places, domain, .. } = shape else {
        return Vec::new();
    };
    places
        .keys()
        .flat_map(|region| {
            let name = region_name(region, domain);
            families(&of_region(edges, region), &name, &Routing::Simple, ttl)
        })
        .collect()
}

fn of_region<'a>(edges: &'a [Edge], region: &Name) -> Vec<&'a Edge> {
    edges.iter().filter(|edge| edge.region == *region).collect()
}

/// For all users: also when no edge is left at all, what is there stays.
fn whole(edges: &[&Edge], name: &str, routing: &Routing, ttl: u32) -> Vec<Goal> {
    if edges.is_empty() {
        let kinds = [Kind::A, Kind::Aaaa];
        return kinds
            .map(|kind| Goal::Keep(set(name, kind, routing, ttl).key()))
            .into();
    }
    families(edges, name, routing, ttl)
}

/// One set for each family of addresses that these edges have.
fn families(edges: &[&Edge], name: &str, routing: &Routing, ttl: u32) -> Vec<Goal> {
    let mut goals = Vec::new();
    for kind in [Kind::A, Kind::Aaaa] {
        let of_kind = |edge: &&&Edge| Kind::of(edge.address) == kind;
        let family: Vec<&Edge> = edges.iter().filter(of_kind).copied().collect();
        if family.is_empty() {
            continue;
        }
        let mut set = set(name, kind, routing, ttl);
        set.values = chosen(&family);
        goals.push(if set.values.is_empty() {
            Goal::Keep(set.key())
        } else {
            Goal::Set(set)
        });
    }
    goals
}

fn set(name: &str, kind: Kind, routing: &Routing, ttl: u32) -> RecordSet {
    RecordSet {
        name: name.to_owned(),
        kind,
        routing: routing.clone(),
        ttl,
        values: BTreeSet::new(),
    }
}

/// The addresses of those that are live; of too many, as many of each region as of another.
fn chosen(edges: &[&Edge]) -> BTreeSet<String> {
    let mut by_region: BTreeMap<&Name, BTreeSet<IpAddr>> = BTreeMap::new();
    for edge in edges.iter().filter(|edge| edge.is_live) {
        by_region
            .entry(&edge.region)
            .or_default()
            .insert(edge.address);
    }
    let mut ranked: Vec<(usize, IpAddr)> = by_region
        .into_values()
        .flat_map(|addresses| addresses.into_iter().enumerate())
        .collect();
    ranked.sort_unstable();
    let first = ranked.into_iter().take(ADDRESSES);
    first.map(|(_, address)| address.to_string()).collect()
}

#[cfg(test)]
mod tests;
