//! The names of feeds.

use control_plane::feed::route::{RENDERING, Rings};
use domain::{name::Name, ring::Ring};
use protocol::feed::FeedName;

/// All edges are in one ring here: which ring gets a platform-made change when is not simulated.
#[must_use]
pub fn rings() -> Rings {
    Rings {
        rendering: RENDERING,
        versions: [(Ring::All, RENDERING.version)].into(),
    }
}

/// Whether somebody follows the feed.
#[must_use]
pub fn is_followed(feed: &FeedName) -> bool {
    feed.ring().is_none_or(|ring| ring == Ring::All)
}

/// Hostnames, edges.
#[must_use]
pub fn global() -> FeedName {
    FeedName::GlobalRoutes(Ring::All)
}

/// Services' endpoints in a region.
#[must_use]
pub fn of_region(region: &Name) -> FeedName {
    FeedName::RegionRoutes(region.clone(), Ring::All)
}

/// The region of a feed of endpoints.
#[must_use]
pub fn region_of(feed: &FeedName) -> Option<&Name> {
    match feed {
        FeedName::RegionRoutes(region, _) => Some(region),
        _ => None,
    }
}
