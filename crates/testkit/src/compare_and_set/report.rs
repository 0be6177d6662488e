//! Reports as small as the suite needs them.

use std::collections::BTreeMap;

use domain::{
    generation::Position,
    id::{BuildId, InstanceId, ReleaseId, ServiceId},
    instance::State,
    quantity::{Bytes, MilliCpu},
};
use protocol::{
    feed::{Commit, FeedName},
    report::{
        AgentReport, BuildReport, BuildState, Capacity, EdgeReport, InstanceReport, Report,
        RoleReport, StoredItem, Traffic, Usage,
    },
};

/// What an agent reports that offers so many thousandths of a CPU, and as many mebibytes.
pub fn agent_report(
    boot: &str,
    sequence: u64,
    room: u32,
    instances: &[(InstanceId, State)],
) -> Report {
    let seen = |(id, state): &(InstanceId, State)| InstanceReport {
        id: *id,
        release_id: ReleaseId::new(),
        service_id: ServiceId::new(),
        state: *state,
        ready: false,
        restarts: 0,
        address: None,
        image_digest: None,
        exit_code: None,
        problem: None,
        usage: Usage::default(),
        orphaned: false,
        item: None,
    };
    Report {
        boot_id: boot.to_owned(),
        sequence,
        version: "test".to_owned(),
        feeds: vec![],
        held: BTreeMap::new(),
        role: RoleReport::Agent(AgentReport {
            capacity: Capacity {
                cpu: MilliCpu(room),
                memory: Bytes::mebibytes(room.into()),
            },
            usage: Usage::default(),
            address: ([127, 0, 0, 1], 1).into(),
            instances: instances.iter().map(seen).collect(),
            builds: vec![],
            kept: None,
        }),
    }
}

/// The same of a service that the plan knows, with the item that it runs by.
pub fn with_item(mut report: Report, service: ServiceId, item: Option<&str>) -> Report {
    if let RoleReport::Agent(agent) = &mut report.role {
        for instance in &mut agent.instances {
            instance.service_id = service;
            instance.orphaned = true;
            instance.item = item.map(|item| StoredItem {
                json: item.to_owned(),
                sha256: item.to_owned(),
            });
        }
    }
    report
}

/// What an edge reports of how it fares.
pub fn edge_report(boot: &str, sequence: u64, traffic: Traffic) -> Report {
    let address = ([127, 0, 0, 1], 1).into();
    Report {
        role: RoleReport::Edge(EdgeReport {
            forward_address: address,
            public_address: address,
            deployments: BTreeMap::new(),
            traffic,
        }),
        ..agent_report(boot, sequence, 1, &[])
    }
}

/// The report of a node that has applied a feed up to a position.
pub fn applied(report: Report, feed: FeedName, position: Position) -> Report {
    let commit = Commit {
        feed,
        epoch: position.epoch,
        generation: position.generation,
        digest: String::new(),
        count: 0,
        signature: String::new(),
    };
    let mut report = report;
    report.feeds.push(commit);
    report
}

/// The report of an agent that is so far with builds.
pub fn building(mut report: Report, builds: &[(BuildId, BuildState)]) -> Report {
    if let RoleReport::Agent(agent) = &mut report.role {
        let seen = |(id, state): &(BuildId, BuildState)| BuildReport {
            id: *id,
            state: state.clone(),
            started_at: None,
        };
        agent.builds = builds.iter().map(seen).collect();
    }
    report
}
