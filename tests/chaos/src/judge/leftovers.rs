//! Rows, containers, networks and routes agree, and nothing runs that nobody wants.

use std::collections::{BTreeMap, BTreeSet};

use super::Violation;
use crate::world::{Instance, World};

const NO_ROW: &str = "has no row";
const STOPPED: &str = "has been stopped";
const TO_STOP: &str = "is to stop";
const TWICE: &str = "is one";

pub(super) fn wrong(world: &World) -> Vec<Violation> {
    [
        replicas(world),
        missing_containers(world),
        orphan_containers(world),
        networks(world),
        orphan_routes(world),
        missing_routes(world),
        world
            .behind
            .iter()
            .cloned()
            .map(Violation::Behind)
            .collect(),
        world
            .misreserved
            .iter()
            .cloned()
            .map(Violation::Misreserved)
            .collect(),
        world
            .doubled
            .iter()
            .cloned()
            .map(Violation::Doubled)
            .collect(),
    ]
    .concat()
}

/// Instances that the plan wants, or that go on although it does not, against the specification.
fn replicas(world: &World) -> Vec<Violation> {
    let mut found: BTreeMap<_, usize> = BTreeMap::new();
    for instance in world
        .instances
        .values()
        .filter(|one| one.serves && !one.stopped)
    {
        *found
            .entry((instance.service, &instance.region))
            .or_default() += 1;
    }
    let wanted = world
        .wanted
        .iter()
        .flat_map(|(service, regions)| regions.iter().map(|(region, n)| ((*service, region), *n)));
    let mut all: BTreeMap<_, (usize, u32)> = BTreeMap::new();
    for (place, count) in found {
        all.entry(place).or_default().0 = count;
    }
    for (place, count) in wanted {
        all.entry(place).or_default().1 = count;
    }
    all.into_iter()
        .filter(|(_, (found, wanted))| *found as u64 != u64::from(*wanted))
        .map(|((service, region), (found, wanted))| Violation::Replicas {
            service,
            region: region.clone(),
            found,
            wanted,
        })
        .collect()
}

fn missing_containers(world: &World) -> Vec<Violation> {
    let running: BTreeSet<_> = world
        .containers
        .iter()
        .filter(|container| container.state == "running")
        .map(|container| (&container.region, &container.instance))
        .collect();
    world
        .instances
        .iter()
        .filter(|(id, instance)| instance.wanted && !running.contains(&(&instance.region, *id)))
        .map(|(id, _)| Violation::NoContainer(id.clone()))
        .collect()
}

fn orphan_containers(world: &World) -> Vec<Violation> {
    let mut counts: BTreeMap<_, usize> = BTreeMap::new();
    for container in &world.containers {
        *counts
            .entry((&container.region, &container.instance))
            .or_default() += 1;
    }
    let why = |region: &str, id: &str, count: usize| match world.instances.get(id) {
        None => Some(NO_ROW),
        Some(row) if row.region != region => Some(NO_ROW),
        Some(row) if row.stopped => Some(STOPPED),
        Some(_) if count > 1 => Some(TWICE),
        Some(_) => None,
    };
    counts
        .into_iter()
        .filter_map(|((region, instance), count)| {
            Some(Violation::OrphanContainer {
                region: region.clone(),
                instance: instance.clone(),
                count,
                why: why(region, instance, count)?,
            })
        })
        .collect()
}

/// One for each environment that something runs in. Agents look for others every 20 s.
fn networks(world: &World) -> Vec<Violation> {
    let in_use = |region: &str, environment: &str| {
        let here = |row: &&Instance| row.region == region && row.environment == environment;
        world
            .instances
            .values()
            .filter(here)
            .any(|row| !row.stopped)
    };
    let wrong = |((region, environment), count): (&(String, String), &usize)| {
        let (region, environment) = (region.clone(), environment.clone());
        if !in_use(&region, &environment) {
            return Some(Violation::OrphanNetwork {
                region,
                environment,
            });
        }
        (*count > 1).then_some(Violation::NetworkDoubled {
            region,
            environment,
            count: *count,
        })
    };
    world.networks.iter().filter_map(wrong).collect()
}

fn orphan_routes(world: &World) -> Vec<Violation> {
    let why = |id: &str| match world.instances.get(id) {
        None => Some(NO_ROW),
        Some(row) if row.stopped => Some(STOPPED),
        Some(row) if !row.wanted => Some(TO_STOP),
        Some(_) => None,
    };
    world
        .endpoints
        .iter()
        .filter_map(|(region, instance)| {
            Some(Violation::OrphanRoute {
                region: region.clone(),
                instance: instance.clone(),
                why: why(instance)?,
            })
        })
        .collect()
}

fn missing_routes(world: &World) -> Vec<Violation> {
    let routed = |region: &str, id: &str| {
        let place = (region.to_owned(), id.to_owned());
        world.endpoints.contains(&place)
    };
    world
        .instances
        .iter()
        .filter(|(id, row)| row.wanted && row.serves && row.ready && !routed(&row.region, id))
        .map(|(id, row)| Violation::NoRoute {
            region: row.region.clone(),
            instance: id.clone(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{super::tests::spoilt, *};

    fn place(what: &str) -> (String, String) {
        ("us-east".to_owned(), what.to_owned())
    }

    #[test]
    fn networks_and_routes_lead_to_what_runs() {
        let network = spoilt(|_, world| {
            world.networks.insert(place("env_9"), 1);
        });
        assert!(matches!(network[..], [Violation::OrphanNetwork { .. }]));
        let route = spoilt(|_, world| {
            world.endpoints.insert(place("ins_9"));
        });
        assert!(matches!(
            route[..],
            [Violation::OrphanRoute { why: NO_ROW, .. }]
        ));
        let unrouted = spoilt(|_, world| world.endpoints.clear());
        assert!(matches!(unrouted[..], [Violation::NoRoute { .. }]));
        let behind = spoilt(|_, world| world.behind.push("us-east-1 at 3, not 4".to_owned()));
        assert!(matches!(behind[..], [Violation::Behind(_)]));
    }

    #[test]
    fn nothing_is_there_twice() {
        let network = spoilt(|_, world| {
            world.networks.insert(place("env_1"), 2);
        });
        assert!(
            matches!(network[..], [Violation::NetworkDoubled { count: 2, .. }]),
            "{network:?}"
        );
        let build = spoilt(|_, world| world.doubled.push("2 builds of dep_1".to_owned()));
        assert!(matches!(build[..], [Violation::Doubled(_)]));
        let leaked = spoilt(|_, world| world.misreserved.push("us-east".to_owned()));
        assert!(matches!(leaked[..], [Violation::Misreserved(_)]));
    }
}
