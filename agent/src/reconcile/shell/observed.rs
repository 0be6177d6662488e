//! What the shell publishes: one snapshot for reports, edges, metrics and cleaning up.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use domain::id::{EnvironmentId, InstanceId, ServiceId};
use protocol::{agent_api::Confirmation, report::InstanceReport};

use super::super::{Goal, Instance};
use crate::{
    desired::Desired,
    runtime::{Phase, PublishedPort},
    serve::confirmation,
};

/// Whether the engine answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Engine {
    /// It was not heard of yet.
    #[default]
    Unasked,
    /// It does.
    Answers,
    /// It did not answer last time.
    Away,
}

/// What is seen on this node.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observed {
    /// Both the document and the engine are known: nothing is missing here.
    pub complete: bool,
    /// Every instance, wanted or not, and those stopped a short time ago.
    pub instances: Vec<InstanceReport>,
    /// What edges are told; nothing before the engine has told what there is.
    pub confirmations: Option<BTreeMap<InstanceId, Confirmation>>,
    /// Their containers use resources.
    pub running: BTreeSet<InstanceId>,
    /// Environments with wanted or existing containers.
    pub environments: BTreeSet<EnvironmentId>,
    /// Services with wanted or existing containers.
    pub services: BTreeSet<ServiceId>,
    /// Images that items refer to.
    pub images: BTreeSet<String>,
    /// Whether all this is what the engine tells now.
    pub engine: Engine,
    /// Where the ports of running containers lead.
    pub published: BTreeSet<PublishedPort>,
}

impl Observed {
    pub(super) fn new(
        instances: &BTreeMap<InstanceId, Instance>,
        desired: Option<&Desired>,
        engine_seen: bool,
        engine: Engine,
        address: IpAddr,
    ) -> Self {
        let present = || instances.values().filter(|instance| is_present(instance));
        let items = desired
            .iter()
            .flat_map(|desired| desired.instances.values());
        Self {
            complete: engine_seen && desired.is_some(),
            instances: instances
                .iter()
                .map(|(id, instance)| instance.report(*id, address))
                .collect(),
            confirmations: engine_seen.then(|| confirmations(instances, address)),
            running: instances
                .iter()
                .filter(|(_, instance)| matches!(instance.phase(), Some(Phase::Running { .. })))
                .map(|(id, _)| *id)
                .collect(),
            environments: present().map(|i| i.record.environment).collect(),
            services: present().map(|i| i.record.service).collect(),
            images: items.map(|wanted| wanted.item.image.clone()).collect(),
            engine,
            published: instances
                .values()
                .filter_map(|instance| instance.container.as_ref()?.published)
                .collect(),
        }
    }
}

fn confirmations(
    instances: &BTreeMap<InstanceId, Instance>,
    node: IpAddr,
) -> BTreeMap<InstanceId, Confirmation> {
    let confirmed = instances
        .iter()
        .filter_map(|(id, instance)| confirmation(*id, instance, node));
    confirmed.map(|c| (c.instance_id, c)).collect()
}

fn is_present(instance: &Instance) -> bool {
    instance.container.is_some() || instance.busy || matches!(instance.goal, Goal::Run(_))
}
