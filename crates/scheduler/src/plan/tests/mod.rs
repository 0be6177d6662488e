//! Small worlds to plan in.

use domain::{
    id::{DeploymentId, InstanceId, NodeId, ReleaseId, ServiceId},
    quantity::{Bytes, MilliCpu},
};

use super::*;
use crate::model::{Amount, Node};

mod golden;
mod properties;
mod scenario;

fn uuid(kind: u128, n: u32) -> uuid::Uuid {
    uuid::Uuid::from_u128(kind << 64 | u128::from(n))
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn amount(cpu: u32, mebibytes: u64) -> Amount {
    Amount {
        cpu: MilliCpu(cpu),
        memory: Bytes::mebibytes(mebibytes),
    }
}

fn node(n: u32, region: &str, free: Amount) -> Node {
    Node {
        id: NodeId::from(uuid(1, n)),
        region: name(region),
        schedulable: true,
        draining: false,
        liveness: Liveness::Punctual,
        capacity: free,
        reserved: Amount::default(),
        recent_failures: 0,
    }
}

fn goal(n: u32, replicas: &[(&str, u32)], resources: Amount) -> Goal {
    Goal {
        deployment_id: DeploymentId::from(uuid(2, n)),
        release_id: ReleaseId::from(uuid(3, n)),
        replicas: replicas.iter().map(|(r, n)| (name(r), *n)).collect(),
        resources,
        strategy: Strategy::Rolling,
    }
}

fn instance(n: u32, deployment: u32, on: u32, phase: Phase) -> Instance {
    Instance {
        id: InstanceId::from(uuid(4, n)),
        deployment_id: DeploymentId::from(uuid(2, deployment)),
        node_id: NodeId::from(uuid(1, on)),
        phase,
    }
}

fn ask(nodes: &[Node], instances: &[Instance], goals: &[Goal]) -> Plan {
    let evaluation = Evaluation {
        service_id: ServiceId::from(uuid(5, 1)),
        goals: goals.to_vec(),
    };
    let snapshot = Snapshot {
        nodes: nodes.to_vec(),
        instances: instances.to_vec(),
    };
    plan(&snapshot, &evaluation)
}

fn number(id: uuid::Uuid) -> u32 {
    u32::try_from(id.as_u128() & u128::from(u32::MAX)).unwrap()
}

fn blocked(e: &Exhausted) -> String {
    format!("blocked {}x in {}: {}", e.missing, e.region, e.explanation)
}
