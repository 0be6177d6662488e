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
        orphan_networks(world),
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

fn orphan_networks(world: &World) -> Vec<Violation> {
    let in_use = |region: &str, environment: &str| {
        let here = |row: &&Instance| row.region == region && row.environment == environment;
        world
            .instances
            .values()
            .filter(here)
            .any(|row| !row.stopped)
    };
    world
        .networks
        .iter()
        .filter(|(region, environment)| !in_use(region, environment))
        .map(|(region, environment)| Violation::OrphanNetwork {
            region: region.clone(),
            environment: environment.clone(),
        })
        .collect()
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
