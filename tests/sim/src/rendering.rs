//! Versions of rendering, as newer programs of the control plane bring them: edges can't use every one. A
//! version is the same in every program that knows it, and each item of it says so.

use std::collections::BTreeMap;

use control_plane::feed::route::{RENDERING, RouteItem};
use domain::quantity::Bytes;
use protocol::{
    feed::digest::{self, Rendered},
    item::{GlobalRouteItem, RegionRouteItem},
};

/// Where edges take forwarded requests, by the first version; by the next one it is the next port.
const PORT: u16 = 7443;
const MARK: &str = "version-";

/// What edges can do with a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quality {
    /// Serve by it.
    Good,
    /// Nothing with its host names: they can't be read.
    Unreadable,
    /// Nothing with its host names: they are none.
    Refused,
    /// Serve nobody: its host names are others than users ask for.
    Unknown,
    /// Serve nobody: it forgets where instances are.
    Empty,
}

impl Quality {
    /// Of a version.
    #[must_use]
    pub const fn of(version: i32) -> Self {
        match version % 7 {
            3 => Self::Unreadable,
            5 => Self::Refused,
            6 => Self::Unknown,
            0 => Self::Empty,
            _ => Self::Good,
        }
    }

    /// Whether edges say so, however many requests they get.
    #[must_use]
    pub const fn shows_at_once(self) -> bool {
        !matches!(self, Self::Unknown | Self::Empty)
    }
}

/// Renders an item in a version.
///
/// # Errors
/// When it can't be JSON.
pub fn render(version: i32, item: &RouteItem) -> Result<Rendered, digest::Error> {
    if version <= RENDERING.version {
        return (RENDERING.render)(version, item);
    }
    let mut item = item.clone();
    let quality = Quality::of(version);
    match &mut item {
        RouteItem::Global(GlobalRouteItem::Hostname(_)) if quality == Quality::Unreadable => {
            let unreadable = [("kind", "hostname"), ("hostname", "5")];
            return Rendered::of(&BTreeMap::from(unreadable));
        }
        RouteItem::Global(GlobalRouteItem::Hostname(host)) => {
            host.max_body = Some(Bytes(version.unsigned_abs().into()));
            match quality {
                Quality::Refused => host.hostname.push(' '),
                Quality::Unknown => host.hostname.insert_str(0, "not."),
                Quality::Empty => host.regions.clear(),
                Quality::Good | Quality::Unreadable => {}
            }
        }
        RouteItem::Global(GlobalRouteItem::Edge(edge)) => {
            edge.forward_address.set_port(port(version));
        }
        RouteItem::Region(RegionRouteItem::Service(service)) => {
            service.traceparent = Some(format!("{MARK}{version}"));
            if quality == Quality::Empty {
                service.endpoints.clear();
            }
        }
        RouteItem::Global(_) | RouteItem::Region(_) => {}
    }
    Rendered::of(&item)
}

fn port(version: i32) -> u16 {
    let later = u16::try_from(version - RENDERING.version).unwrap_or_default();
    PORT.saturating_add(later)
}

/// The version that an item was rendered in; none of what is the same in all.
#[must_use]
pub fn version_of_global(item: &GlobalRouteItem) -> Option<i32> {
    let version = match item {
        GlobalRouteItem::Hostname(host) => host.max_body.map(|bytes| bytes.0),
        GlobalRouteItem::Edge(edge) => {
            let later = u64::from(edge.forward_address.port().saturating_sub(PORT));
            (later > 0).then_some(later + u64::from(RENDERING.version.unsigned_abs()))
        }
        GlobalRouteItem::Rules(_)
        | GlobalRouteItem::Certificate(_)
        | GlobalRouteItem::Denied(_)
        | GlobalRouteItem::Challenge(_) => return None,
    };
    let version = version.and_then(|version| i32::try_from(version).ok());
    Some(version.unwrap_or(RENDERING.version))
}

/// Likewise.
#[must_use]
pub fn version_of_region(item: &RegionRouteItem) -> Option<i32> {
    let RegionRouteItem::Service(service) = item else {
        return None;
    };
    let mark = service.traceparent.as_deref();
    let version = mark.and_then(|mark| mark.strip_prefix(MARK)?.parse().ok());
    Some(version.unwrap_or(RENDERING.version))
}
