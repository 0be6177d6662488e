//! What an agent says of its node, as `agent::report` puts it together.

use agent::desired::Desired;
use protocol::report::{AgentReport, InstanceReport, RoleReport, Usage};

use super::{Agent, Node};

/// What an agent's report says beside its feeds.
#[must_use]
pub fn role_report(node: &Node, agent: &Agent) -> RoleReport {
    RoleReport::Agent(AgentReport {
        capacity: node.capacity,
        usage: Usage::default(),
        address: node.address,
        instances: with_items(agent, agent.reports(node.address.ip())),
        builds: agent.builder.queue.reports(),
        kept: None,
    })
}

/// Orphans are told with the items that they run by.
fn with_items(agent: &Agent, mut reports: Vec<InstanceReport>) -> Vec<InstanceReport> {
    if agent.feed.held() == 0 {
        return reports;
    }
    let desired = Desired::from_state(&agent.feed.state(), true).unwrap_or_default();
    for report in &mut reports {
        let wanted = desired.instances.get(&report.id);
        report.item = wanted.and_then(|wanted| wanted.stored.clone());
    }
    reports
}
