//! The names of feeds. Each ring of edges has its own.

use domain::{name::Name, ring::Ring};
use protocol::feed::FeedName;

/// Hostnames, edges: of every ring.
pub fn globals() -> impl Iterator<Item = FeedName> {
    Ring::ORDER.into_iter().map(FeedName::GlobalRoutes)
}

/// Services' endpoints in a region.
#[must_use]
pub fn of_region(region: &Name, ring: Ring) -> FeedName {
    FeedName::RegionRoutes(region.clone(), ring)
}

/// Services' endpoints in these regions: of every ring.
pub fn of_regions<'a>(regions: &'a [Name]) -> impl Iterator<Item = FeedName> + 'a {
    let rings = |region: &'a Name| Ring::ORDER.map(|ring| of_region(region, ring));
    regions.iter().flat_map(rings)
}

/// The region of a feed of endpoints.
#[must_use]
pub const fn region_of(feed: &FeedName) -> Option<&Name> {
    match feed {
        FeedName::RegionRoutes(region, _) => Some(region),
        FeedName::GlobalRoutes(_) | FeedName::Node(_) => None,
    }
}
