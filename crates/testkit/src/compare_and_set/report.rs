//! Reports as small as the suite needs them.

use std::collections::BTreeMap;

use domain::{
    generation::Position,
    id::{InstanceId, ReleaseId, ServiceId},
    instance::State,
    quantity::{Bytes, MilliCpu},
};
use protocol::{
    feed::{Commit, FeedName},
    report::{AgentReport, Capacity, InstanceReport, Report, RoleReport, StoredItem, Usage},
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
    Report {
        feeds: vec![commit],
        ..report
    }
}
