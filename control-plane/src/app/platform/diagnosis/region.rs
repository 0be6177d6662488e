//! What is wrong with a region as a whole.

use api::{
    node::NodeRole,
    platform::{Finding, NodeHealth},
};
use domain::name::Name;
use scheduler::Sight;

use super::critical;

/// The scheduler's brake holds, and only a person can know whether these machines run.
pub(super) fn replacement(region: &Name, sight: Sight) -> Option<Finding> {
    let Sight { nodes, silent } = sight;
    sight.stops_replacement().then(|| {
        critical(
            "replacement_stopped",
            region.as_str(),
            format!("{silent} of the {nodes} agents of {region} are silent: nothing that they run is replaced elsewhere"),
            format!(
                "look first at what they share: network, power, their way to the control plane (railhead node list \
                 --region {region} says which they are); what runs there goes on, and they are back by themselves once they \
                 are heard. Only for a machine that is certainly off: railhead node fence NODE --reason WHY"
            ),
        )
    })
}

/// What a region lacks: traffic needs an edge, instances need an agent.
pub(super) fn coverage(region: &Name, nodes: &[NodeHealth]) -> Vec<Finding> {
    let lacks = |role: NodeRole, usable: fn(&NodeHealth) -> bool| {
        !nodes
            .iter()
            .any(|node| node.region == *region && node.role == role && usable(node))
    };
    let punctual = |node: &NodeHealth| node.reported_at.is_some() && node.late_since.is_none();
    let mut found = Vec::new();
    if lacks(NodeRole::Edge, punctual) {
        found.push(critical(
            "region_without_edge",
            region.as_str(),
            format!("no edge of {region} has reported of late: changes do not reach its users"),
            format!("railhead node list --region {region}; on the machine: is the edge up, does it reach the control plane?"),
        ));
    }
    if lacks(NodeRole::Agent, |node| {
        node.late_since.is_none() && node.schedulable
    }) {
        found.push(critical(
            "region_without_agent",
            region.as_str(),
            format!("no node of {region} takes new instances"),
            format!(
                "railhead node list --region {region}; railhead node uncordon NODE, or railhead node token --region {region}, and on a new machine railhead node join TOKEN"
            ),
        ));
    }
    found
}
