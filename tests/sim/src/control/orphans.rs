//! What a restored database has forgotten and a node runs on is taken back where the real decision says so,
//! and told to go when somebody has let it go.

use std::collections::BTreeMap;

use control_plane::{
    feed::{
        instance::item_id,
        route::{Changes, service_item_id},
    },
    reconcile::orphans::{Action, View, decide},
    store::{
        feed::Change,
        orphan::Candidate,
        placement::{Release, Service},
    },
};
use domain::{
    id::{InstanceId, NodeId, ServiceId},
    name::Name,
};
use protocol::{
    feed::{DropCause, FeedName, digest::Rendered},
    item::InstanceItem,
};
use scheduler::{Amount, Instance, Phase, Plan, Snapshot, StopCause};

use super::Task;
use crate::{fault::Fault, table::NewInstance, trace::Note, world::World};

/// An orphan that shall be an instance again, and the item that its node has.
#[derive(Debug)]
pub struct Adoption {
    item: Box<InstanceItem>,
    candidate: Candidate,
}

impl World {
    /// What an operator has let go, or a deletion, is told so.
    pub(super) fn turn_orphans(&mut self) {
        self.tell_orphans(self.tables.orphans_going(), DropCause::Deletion);
    }

    fn tell_orphans(&mut self, orphans: Vec<(NodeId, InstanceId)>, cause: DropCause) {
        let mut changes = Changes::new();
        for (node, instance) in orphans {
            self.checker.let_go(instance);
            let id = item_id(instance);
            let of_node = changes.entry(FeedName::Node(node)).or_default();
            of_node.push(Change::LetGo { id, cause });
        }
        self.tables.write_feeds(changes);
    }

    /// What nodes and edges went on with after a restore is not needed any more.
    pub(crate) fn let_go_of_orphans(&mut self, service: ServiceId, cause: DropCause) {
        self.tables.let_go_of_service(service);
        self.tell_orphans(self.tables.orphans_of(service), cause);
        if self.fault != Some(Fault::OrphanedRoutesStay) {
            let id = service_item_id(service);
            let let_go = |feed| {
                let id = id.clone();
                (feed, vec![Change::LetGo { id, cause }])
            };
            let feeds = self.tables.kept_routes(service).into_iter();
            self.tables.write_feeds(feeds.map(let_go).collect());
        }
        if self.tables.edges_are_of_this_epoch() {
            self.let_go.insert(service, self.tables.platform.epoch);
        }
    }

    /// An operator lets go of one of those that there are.
    pub(crate) fn let_one_go(&mut self) {
        let all: Vec<InstanceId> = self.tables.orphans.keys().map(|(_, id)| *id).collect();
        let Some(id) = self.random.pick(&all).copied() else {
            return;
        };
        if self.tables.let_go(id) {
            self.note(Note::Intent(format!("let go of {id}")));
            self.wake(Task::Orphans);
        }
    }

    /// Which orphans of a service are taken back; from then on the snapshot has them.
    pub(super) fn adoptions(
        &self,
        service: &Service,
        releases: &[Release],
        replicas: &BTreeMap<Name, u32>,
        snapshot: &mut Snapshot,
    ) -> Vec<Adoption> {
        let orphans = self.tables.candidates(service.id);
        let mut replicas = replicas.clone();
        if self.fault == Some(Fault::EveryOrphanTaken) {
            replicas.values_mut().for_each(|wanted| *wanted += 10);
        }
        let actions = decide(&View {
            service,
            releases,
            replicas: &replicas,
            snapshot,
            orphans: &orphans,
        });
        let adopted = |(candidate, action): (&Candidate, Action)| match action {
            Action::Adopt(item) => Some(Adoption {
                item,
                candidate: candidate.clone(),
            }),
            Action::Keep(..) => None,
        };
        let adoptions: Vec<Adoption> = actions.into_iter().filter_map(adopted).collect();
        let instances = adoptions.iter().map(|adoption| Instance {
            id: adoption.item.id,
            deployment_id: adoption.item.deployment_id,
            node_id: adoption.candidate.node,
            phase: Phase::Coming,
        });
        snapshot.instances.extend(instances);
        snapshot
            .instances
            .sort_unstable_by_key(|instance| instance.id);
        adoptions
    }

    /// Nothing goes for what is taken back, and nothing is placed anew that runs already.
    pub(super) fn check_adoptions(&mut self, adoptions: &[Adoption], plan: &Plan) {
        let place = |one: &Adoption| (one.item.deployment_id, one.candidate.region.clone());
        let adopted: BTreeMap<_, _> = adoptions
            .iter()
            .map(|one| (one.item.id, place(one)))
            .collect();
        let too_many = plan
            .stops
            .iter()
            .filter(|stop| stop.cause == StopCause::Scale);
        for stop in too_many {
            let planned = self.tables.instances.get(&stop.instance_id);
            let planned = planned.map(|row| (row.deployment, row.region.to_string()));
            let of = adopted.get(&stop.instance_id).cloned().or(planned);
            let taken_back = adopted
                .iter()
                .find(|(_, place)| Some(*place) == of.as_ref());
            if let Some((id, _)) = taken_back {
                self.checker.stopped_for(stop.instance_id, *id);
            }
        }
        for placement in &plan.placements {
            let unknown = self.runs_unknown(placement).into_iter();
            if let Some(id) = unknown.filter(|id| !adopted.contains_key(id)).min() {
                self.checker.placed_anew(placement, id);
            }
        }
    }

    /// Their nodes get the items that they have, byte for byte.
    pub(super) fn adopt_orphans(&mut self, adoptions: Vec<Adoption>) {
        let mut changes = Changes::new();
        for Adoption { item, candidate } in adoptions {
            let node = candidate.node;
            if !self.tables.take_back(instance(&item, node)) {
                continue;
            }
            self.adopted += 1;
            self.checker.reserved(&self.tables, node);
            let index = self.index_of(node);
            self.note(Note::Adopted(item.id, item.service_id, index));
            let stored = candidate.item.map(|stored| stored.json).unwrap_or_default();
            if let Ok(rendered) = Rendered::from_json(&stored) {
                let change = Change::Put {
                    id: item_id(item.id),
                    item: rendered,
                    secrets: Vec::new(),
                };
                let of_node = changes.entry(FeedName::Node(node)).or_default();
                of_node.push(change);
            }
        }
        self.tables.write_feeds(changes);
    }
}

fn instance(item: &InstanceItem, node: NodeId) -> NewInstance {
    NewInstance {
        id: item.id,
        service: item.service_id,
        deployment: item.deployment_id,
        release: item.release_id,
        node,
        amount: Amount {
            cpu: item.resources.cpu,
            memory: item.resources.memory,
        },
    }
}
