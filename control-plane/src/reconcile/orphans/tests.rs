use domain::id::{NodeId, ReleaseId};
use proptest::prelude::*;
use scheduler::{Instance, Node};

use super::*;
use crate::store::placement::example;

/// One service with one release that shall run in us-east, and the node of its orphans.
struct World {
    service: Service,
    release: Release,
    node: NodeId,
}

impl World {
    fn new() -> Self {
        let (service, release) = example::routed();
        Self {
            service,
            release,
            node: NodeId::new(),
        }
    }

    fn item(&self) -> InstanceItem {
        let region = "us-east".parse().unwrap();
        crate::feed::instance::serving(
            &self.service,
            &self.release,
            InstanceId::new(),
            &region,
            None,
        )
    }

    fn orphan(&self, item: InstanceItem) -> Candidate {
        let instance = item.id;
        let (rendered, _) = crate::feed::instance::render(item).unwrap();
        Candidate {
            instance,
            node: self.node,
            region: "us-east".into(),
            item: Some(StoredItem {
                json: rendered.json().to_owned(),
                sha256: hex::encode(rendered.sha256()),
            }),
        }
    }

    /// With so many instances that count, and so many that are wanted.
    fn decide(&self, there: usize, wanted: u32, orphans: &[Candidate]) -> Vec<Action> {
        let instance = |_| Instance {
            id: InstanceId::new(),
            deployment_id: self.release.deployment,
            node_id: self.node,
            phase: Phase::Coming,
        };
        let node = Node {
            id: self.node,
            region: "us-east".parse().unwrap(),
            schedulable: true,
            draining: false,
            liveness: Liveness::Punctual,
            capacity: amount(),
            reserved: amount(),
            recent_failures: 0,
        };
        decide(&View {
            service: &self.service,
            releases: std::slice::from_ref(&self.release),
            replicas: &BTreeMap::from([("us-east".parse().unwrap(), wanted)]),
            snapshot: &Snapshot {
                nodes: vec![node],
                instances: (0..there).map(instance).collect(),
            },
            orphans,
        })
    }

    fn reason(&self, orphan: Candidate) -> String {
        match self.decide(0, 1, &[orphan]).remove(0) {
            Action::Keep(_, reason) => reason,
            Action::Adopt(item) => panic!("{} is taken back", item.id),
        }
    }
}

fn amount() -> Amount {
    Amount {
        cpu: domain::quantity::MilliCpu(1_000),
        memory: domain::quantity::Bytes::mebibytes(1_024),
    }
}

#[test]
fn what_the_plan_lacks_is_taken_back() {
    let world = World::new();
    let item = world.item();
    let expected = Action::Adopt(Box::new(item.clone()));
    assert_eq!(world.decide(1, 2, &[world.orphan(item)]), [expected]);
}

#[test]
fn what_has_no_place_any_more_stays_an_orphan_with_its_reason() {
    let world = World::new();
    let item = world.item();
    let with = |change: &dyn Fn(&mut InstanceItem)| {
        let mut changed = item.clone();
        change(&mut changed);
        world.reason(world.orphan(changed))
    };
    assert!(with(&|item| item.deployment_id = DeploymentId::new()).contains("shall run"));
    assert!(with(&|item| item.release_id = ReleaseId::new()).contains("another release"));
    assert!(with(&|item| item.image = "registry/x@sha256:2".into()).contains("another release"));
    assert!(with(&|item| item.service_id = ServiceId::new()).contains("another instance's"));
    assert!(with(&|item| item.desired = Desired::Stop).contains("ends by itself"));
}

#[test]
fn bytes_that_are_not_what_was_signed_for_are_not_believed() {
    let world = World::new();
    let mut forged = world.orphan(world.item());
    if let Some(stored) = &mut forged.item {
        stored.json = stored.json.replace("registry/x", "registry/y");
    }
    assert!(world.reason(forged).contains("digest"));
    let mut silent = world.orphan(world.item());
    silent.item = None;
    assert!(world.reason(silent).contains("has not reported"));
    let mut renamed = world.orphan(world.item());
    renamed.instance = InstanceId::new();
    assert!(world.reason(renamed).contains("another instance's"));
}

proptest! {
    /// Never more than are wanted: the scheduler has no reason to stop one for it.
    #[test]
    fn nothing_is_taken_back_beyond_what_is_wanted(there in 0_usize..6, wanted in 0_u32..6, orphans in 0_usize..6) {
        let world = World::new();
        let all: Vec<Candidate> = (0..orphans).map(|_| world.orphan(world.item())).collect();
        let actions = world.decide(there, wanted, &all);
        let adopted = actions.iter().filter(|action| matches!(action, Action::Adopt(_))).count();
        let missing = (wanted as usize).saturating_sub(there);
        prop_assert_eq!(adopted, missing.min(orphans));
        prop_assert_eq!(actions.len(), orphans);
    }
}
