//! The reconcilers, as far as they are simulated.

use crate::clock::{Millis, SECOND};

/// A reconciler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Task {
    Evaluations,
    Deployments,
    Builds,
    Routes,
    PlatformRoutes,
    Rollout,
    Instances,
    Nodes,
    Orphans,
}

impl Task {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Evaluations,
        Self::Deployments,
        Self::Builds,
        Self::Routes,
        Self::PlatformRoutes,
        Self::Rollout,
        Self::Instances,
        Self::Nodes,
        Self::Orphans,
    ];

    /// Without a wake-up it runs this often.
    pub(super) const fn period(self) -> Millis {
        match self {
            Self::Nodes => SECOND,
            Self::Evaluations
            | Self::Deployments
            | Self::Builds
            | Self::Instances
            | Self::Rollout => 2 * SECOND,
            Self::Routes | Self::PlatformRoutes | Self::Orphans => 5 * SECOND,
        }
    }

    pub(super) const fn lease(self) -> &'static str {
        match self {
            Self::Evaluations => "reconcile/evaluations",
            Self::Deployments => "reconcile/deployments",
            Self::Builds => "reconcile/builds",
            Self::Routes => "reconcile/routes",
            Self::PlatformRoutes => "reconcile/platform_routes",
            Self::Rollout => "reconcile/rollout",
            Self::Instances => "reconcile/instances",
            Self::Nodes => "reconcile/nodes",
            Self::Orphans => "reconcile/orphans",
        }
    }
}
