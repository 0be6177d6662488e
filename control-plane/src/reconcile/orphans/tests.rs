use domain::id::ReleaseId;
use proptest::prelude::{Strategy as AnyOf, prop, prop_assert, prop_assert_eq, proptest};
use scheduler::{Instance, Liveness, Plan, StopCause};

use super::*;
use crate::{reconcile::evaluations::question, store::placement::example};

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
        let instances = (0..there).map(|_| self.instance(self.node, Phase::Coming));
        let snapshot = Snapshot {
            nodes: vec![node(self.node, Liveness::Punctual)],
            instances: instances.collect(),
        };
        self.decide_in(&snapshot, wanted, orphans)
    }

    fn decide_in(&self, snapshot: &Snapshot, wanted: u32, orphans: &[Candidate]) -> Vec<Action> {
        let replicas = replicas(wanted);
        let actions = decide(&View {
            service: &self.service,
            releases: std::slice::from_ref(&self.release),
            replicas: &replicas,
            snapshot,
            orphans,
        });
        actions.into_iter().map(|(_, action)| action).collect()
    }

    fn plan(&self, snapshot: &Snapshot, wanted: u32) -> Plan {
        let releases = std::slice::from_ref(&self.release);
        let question = question(&self.service, releases, &replicas(wanted));
        scheduler::plan(snapshot, &question)
    }

    fn instance(&self, node_id: NodeId, phase: Phase) -> Instance {
        Instance {
            id: InstanceId::new(),
            deployment_id: self.release.deployment,
            node_id,
            phase,
        }
    }

    fn reason(&self, orphan: Candidate) -> String {
        match self.decide(0, 1, &[orphan]).remove(0) {
            Action::Keep(_, reason) => reason,
            Action::Adopt(item) => panic!("{} is taken back", item.id),
        }
    }
}

fn replicas(wanted: u32) -> BTreeMap<Name, u32> {
    BTreeMap::from([("us-east".parse().unwrap(), wanted)])
}

fn node(id: NodeId, liveness: Liveness) -> Node {
    Node {
        id,
        region: "us-east".parse().unwrap(),
        schedulable: true,
        draining: false,
        liveness,
        capacity: amount(),
        reserved: Amount::default(),
        recent_failures: 0,
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
fn no_node_gets_a_secret_by_an_item_of_its_own_making() {
    let mut world = World::new();
    world.release.variables.insert("A".to_owned(), 1);
    let item = world.item();
    let adopted = world.decide(0, 1, &[world.orphan(item.clone())]);
    assert!(matches!(adopted[..], [Action::Adopt(_)]), "{adopted:?}");
    for foreign in [
        SecretKey::Release(ReleaseId::new(), "A".to_owned()),
        SecretKey::Release(world.release.id, "B".to_owned()),
        SecretKey::Certificate(domain::id::CertificateId::new()),
    ] {
        let mut forged = item.clone();
        let asked = Value::Secret(foreign.at(1));
        forged.environment.insert("A".parse().unwrap(), asked);
        assert!(world.reason(world.orphan(forged)).contains("its release's"));
    }
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

#[test]
fn what_must_be_alone_counts_on_a_node_that_is_silent_or_emptied() {
    let mut world = World::new();
    world.release.spec.deploy.strategy = Strategy::Recreate;
    for (liveness, draining) in [(Liveness::Lost, false), (Liveness::Punctual, true)] {
        let away = Node {
            draining,
            ..node(NodeId::new(), liveness)
        };
        let snapshot = Snapshot {
            instances: vec![world.instance(away.id, Phase::Ready)],
            nodes: vec![away, node(world.node, Liveness::Punctual)],
        };
        let orphan = world.orphan(world.item());
        let actions = world.decide_in(&snapshot, 1, &[orphan]);
        assert!(matches!(actions[..], [Action::Keep(..)]), "{actions:?}");
    }
}

#[test]
fn one_that_can_stay_comes_before_one_on_a_node_that_is_emptied() {
    let world = World::new();
    let emptied = Node {
        draining: true,
        ..node(NodeId::new(), Liveness::Punctual)
    };
    let moves = Candidate {
        node: emptied.id,
        ..world.orphan(world.item())
    };
    let stays = world.orphan(world.item());
    let snapshot = Snapshot {
        nodes: vec![emptied, node(world.node, Liveness::Punctual)],
        instances: vec![],
    };
    let adopted = |orphans: &[Candidate]| match &world.decide_in(&snapshot, 1, orphans)[0] {
        Action::Adopt(item) => item.id,
        Action::Keep(_, reason) => panic!("{reason}"),
    };
    assert_eq!(adopted(&[moves.clone(), stays.clone()]), stays.instance);
    assert_eq!(adopted(std::slice::from_ref(&moves)), moves.instance);
}

fn scaled(plan: &Plan) -> usize {
    let stops = plan.stops.iter();
    stops.filter(|stop| stop.cause == StopCause::Scale).count()
}

fn any_nodes() -> impl AnyOf<Value = Vec<Node>> {
    let liveness = prop::sample::select(vec![
        Liveness::Punctual,
        Liveness::Punctual,
        Liveness::Late,
        Liveness::Lost,
    ]);
    let any_node = (liveness, prop::bool::weighted(0.2)).prop_map(|(liveness, draining)| Node {
        draining,
        ..node(NodeId::new(), liveness)
    });
    prop::collection::vec(any_node, 4)
}

proptest! {
    /// The scheduler agrees: nothing goes for what was taken back, and nothing is placed beside what could stay.
    #[test]
    fn what_is_taken_back_is_neither_one_too_many_nor_placed_anew(
        alone: bool,
        wanted in 0_u32..4,
        nodes in any_nodes(),
        there in prop::collection::vec((0_usize..4, prop::sample::select(vec![Phase::Ready, Phase::Coming, Phase::Leaving, Phase::Ended])), 0..4),
        orphans in prop::collection::vec(0_usize..4, 0..4),
    ) {
        let mut world = World::new();
        if alone {
            world.release.spec.deploy.strategy = Strategy::Recreate;
        }
        let instances = there.iter().map(|(on, phase)| world.instance(nodes[*on].id, *phase));
        let mut snapshot = Snapshot { instances: instances.collect(), nodes };
        let orphans: Vec<Candidate> = orphans
            .iter()
            .map(|on| Candidate { node: snapshot.nodes[*on].id, ..world.orphan(world.item()) })
            .collect();
        let before = world.plan(&snapshot, wanted);
        let mut left = orphans.clone();
        for action in world.decide_in(&snapshot.clone(), wanted, &orphans) {
            if let Action::Adopt(item) = action {
                let node = orphans.iter().find(|orphan| orphan.instance == item.id).unwrap().node;
                let adopted = world.instance(node, Phase::Coming);
                snapshot.instances.push(Instance { id: item.id, ..adopted });
                left.retain(|orphan| orphan.instance != item.id);
            }
        }
        let after = world.plan(&snapshot, wanted);
        prop_assert_eq!(scaled(&before), scaled(&after));
        let could_stay = |orphan: &Candidate| {
            let node = snapshot.nodes.iter().find(|node| node.id == orphan.node).unwrap();
            scheduler::stays(&snapshot, world.release.spec.deploy.strategy, node)
        };
        if left.iter().any(could_stay) {
            prop_assert!(after.placements.is_empty() && after.exhausted.is_empty());
        }
    }

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
