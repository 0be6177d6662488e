//! The rules that edges apply to a service's requests. One item for all of its hostnames, in the feed of all regions: a
//! request meets them at the first edge that it comes to.

use domain::{id::ServiceId, spec::EdgeRule};
use serde::{Deserialize, Serialize};

use super::bounds;

/// The edge rules of a service, for all of its hostnames; absent for a service without any. Whoever does not know all that
/// is in a rule refuses the item: half a rule is worse than the last one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RulesItem {
    /// The service.
    pub service_id: ServiceId,
    /// In order; never what `domain::spec::check_rules` finds fault with.
    #[serde(deserialize_with = "bounds::of_rules")]
    pub rules: Vec<EdgeRule>,
}

impl RulesItem {
    /// The id that it has in its feed.
    #[must_use]
    pub fn item_id(&self) -> String {
        format!("service/{}/rules", self.service_id)
    }
}
