//! What was deleted leaves nothing: no item in a feed, no image on an engine or in the registry. Its rows go last, so
//! that until then it can be seen what a deletion waits for: agents keep an image for a minute after its last use and
//! look every 20 s.

use std::{collections::BTreeSet, time::Duration};

use domain::id::ServiceId;

use super::Violation;
use crate::world::{Item, Presence, World};

/// A minute and a look; with an agent that is killed, or whose clock jumps, the minute may begin again.
const IMAGES_WITHIN: Duration = Duration::from_secs(240);

const NO_ROW: &str = "has no row";
const TO_GO: &str = "is being deleted";
const GONE: &str = "its deletion has ended";
const LATE: &str = "nothing of it has run for four minutes";
const UNKNOWN: &str = "no agent says that it keeps one";

pub(super) fn wrong(world: &World) -> Vec<Violation> {
    [
        orphan_items(world),
        orphan_images(world),
        orphan_manifests(world),
    ]
    .concat()
}

/// Services whose deletion has ended. What a restored database has forgotten was not deleted: it may have left images.
pub fn gone(world: &World) -> impl Iterator<Item = ServiceId> {
    let made = world.audited.keys();
    let made = made.filter(|(action, _)| action == "service.create");
    let services = made.filter_map(|(_, resource)| resource.parse::<ServiceId>().ok());
    services.filter(move |service| !world.services.contains_key(service))
}

fn orphan_items(world: &World) -> Vec<Violation> {
    let why = |item: &Item| match world.services.get(&item.service) {
        None => Some(NO_ROW),
        Some(Presence::Deleting { .. }) if item.feed.starts_with("routes/") => Some(TO_GO),
        Some(_) => None,
    };
    world
        .items
        .iter()
        .filter_map(|item| {
            Some(Violation::OrphanItem {
                feed: item.feed.clone(),
                id: item.id.clone(),
                service: item.service,
                why: why(item)?,
            })
        })
        .collect()
}

fn orphan_images(world: &World) -> Vec<Violation> {
    let gone: BTreeSet<_> = gone(world).collect();
    let why = |place: &(String, ServiceId)| match world.services.get(&place.1) {
        None if gone.contains(&place.1) => Some(GONE),
        Some(Presence::Deleting { idle }) if *idle > Some(IMAGES_WITHIN) => Some(LATE),
        _ => (!may_be_kept(world, place)).then_some(UNKNOWN),
    };
    world
        .images
        .iter()
        .filter_map(|place| {
            Some(Violation::OrphanImage {
                region: place.0.clone(),
                service: place.1,
                why: why(place)?,
            })
        })
        .collect()
}

/// An agent that has just started does not know it yet.
fn may_be_kept(world: &World, (region, service): &(String, ServiceId)) -> bool {
    match world.kept.get(region) {
        Some(Some(kept)) => kept.contains(service),
        Some(None) => true,
        None => false,
    }
}

fn orphan_manifests(world: &World) -> Vec<Violation> {
    let gone = gone(world).filter(|service| world.manifests.contains(service));
    gone.map(Violation::OrphanManifest).collect()
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{sound, spoilt, told_once},
        *,
    };

    /// A service that nobody has any more.
    fn deleted(world: &mut World) -> ServiceId {
        let service = ServiceId::new();
        told_once(world, "service.create", &service.to_string());
        service
    }

    fn being_deleted(world: &mut World, seconds: u64) -> ServiceId {
        let service = ServiceId::new();
        let idle = Some(Duration::from_secs(seconds));
        world.services.insert(service, Presence::Deleting { idle });
        service
    }

    fn item(feed: &str, service: ServiceId) -> Item {
        Item {
            feed: feed.to_owned(),
            id: format!("service/{service}"),
            service,
        }
    }

    fn has_image(world: &mut World, service: ServiceId, is_kept: bool) {
        if let Some(Some(kept)) = world.kept.get_mut("us-east")
            && is_kept
        {
            kept.insert(service);
        }
        world.images.insert(("us-east".to_owned(), service));
    }

    fn why(violations: &[Violation]) -> &'static str {
        match violations {
            [Violation::OrphanItem { why, .. } | Violation::OrphanImage { why, .. }] => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn no_feed_tells_of_a_service_that_is_gone() {
        for feed in ["node/nod_1", "routes/global", "routes/region/us-east"] {
            let left = spoilt(|_, world| world.items.push(item(feed, ServiceId::new())));
            assert_eq!(why(&left), NO_ROW, "{feed}");
        }
    }

    #[test]
    fn what_is_being_deleted_may_end_in_good_order_and_has_no_route() {
        let routed = spoilt(|_, world| {
            let service = being_deleted(world, 0);
            world.items.push(item("routes/global@canary", service));
        });
        assert_eq!(why(&routed), TO_GO);
        let (_, mut world) = sound();
        let service = being_deleted(&mut world, 0);
        world.items.push(item("node/nod_1", service));
        assert_eq!(wrong(&world), []);
    }

    #[test]
    fn an_image_goes_within_minutes_of_its_last_use_and_before_the_rows() {
        for (seconds, is_right) in [(239, true), (241, false)] {
            let (_, mut world) = sound();
            let service = being_deleted(&mut world, seconds);
            has_image(&mut world, service, true);
            assert_eq!(wrong(&world).is_empty(), is_right, "{seconds} s");
        }
        let left = spoilt(|_, world| {
            let service = deleted(world);
            has_image(world, service, true);
        });
        assert_eq!(why(&left), GONE);
    }

    #[test]
    fn an_image_that_no_agent_knows_of_would_stay_for_ever() {
        let forgotten = spoilt(|_, world| {
            world.kept = [("us-east".to_owned(), Some(BTreeSet::new()))].into();
            let service = world.deployments[0].service;
            has_image(world, service, false);
        });
        assert_eq!(why(&forgotten), UNKNOWN);
        let (_, mut world) = sound();
        world.kept = [("us-east".to_owned(), None)].into();
        assert_eq!(wrong(&world), [], "it has not said yet");
        // Of a service that a restored database does not know, nobody can say since when it is not used.
        let (_, mut world) = sound();
        has_image(&mut world, ServiceId::new(), true);
        assert_eq!(wrong(&world), []);
    }

    #[test]
    fn the_registry_has_no_image_of_a_service_that_is_gone() {
        let left = spoilt(|_, world| {
            let service = deleted(world);
            world.manifests.insert(service);
        });
        assert!(matches!(left[..], [Violation::OrphanManifest(_)]));
        let (_, mut world) = sound();
        let service = being_deleted(&mut world, 300);
        world.manifests.insert(service);
        assert_eq!(wrong(&world), []);
    }
}
