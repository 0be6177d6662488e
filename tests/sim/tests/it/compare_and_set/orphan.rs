//! Orphans in the model.

use domain::{
    generation::Position,
    id::{DeploymentId, InstanceId, NodeId, ReleaseId, ServiceId},
    instance::State,
    quantity::{Bytes, MilliCpu},
};
use protocol::feed::FeedName;
use scheduler::Amount;
use sim::table::NewInstance;
use testkit::compare_and_set::{
    agent_report, applied,
    orphan::{Orphan, Orphans},
    with_item,
};

use super::Model;

impl Orphans for Model {
    async fn report_orphan(
        &mut self,
        node: NodeId,
        sequence: u64,
        orphan: Orphan,
        item: Option<&str>,
    ) -> bool {
        let runs = [(orphan.instance, State::Running)];
        let report = agent_report("first", sequence, self.rooms[&node], &runs);
        let report = with_item(report, orphan.service, item);
        let now = self.tick();
        let noticed = self.tables.store_report(node, &report, now);
        noticed.unwrap().orphans
    }

    async fn keeps_orphan(
        &mut self,
        node: NodeId,
        sequence: u64,
        orphan: Orphan,
        item: Option<&str>,
        position: Position,
    ) {
        let runs = [(orphan.instance, State::Running)];
        let report = agent_report("first", sequence, self.rooms[&node], &runs);
        let report = with_item(report, orphan.service, item);
        let report = applied(report, FeedName::Node(node), position);
        let now = self.tick();
        assert!(self.tables.store_report(node, &report, now).is_some());
    }

    async fn candidates(&mut self, service: ServiceId) -> Vec<(InstanceId, Option<String>)> {
        let candidates = self.tables.candidates(service).into_iter();
        let known = candidates.map(|one| (one.instance, one.item.map(|item| item.json)));
        known.collect()
    }

    async fn take_back(
        &mut self,
        instance: InstanceId,
        deployment: DeploymentId,
        node: NodeId,
        room: u32,
    ) {
        let orphan = NewInstance {
            id: instance,
            service: self.tables.deployments[&deployment].service,
            deployment,
            release: ReleaseId::new(),
            node,
            amount: Amount {
                cpu: MilliCpu(room),
                memory: Bytes::mebibytes(room.into()),
            },
        };
        assert!(self.tables.take_back(orphan));
    }

    async fn let_go(&mut self, instance: InstanceId) -> bool {
        self.tick();
        self.tables.let_go(instance)
    }

    async fn let_go_of_service(&mut self, service: ServiceId) {
        self.tick();
        self.tables.let_go_of_service(service);
    }

    async fn going(&mut self) -> Vec<InstanceId> {
        let going = self.tables.orphans_going().into_iter();
        going.map(|(_, instance)| instance).collect()
    }

    async fn fail_over(&mut self) {
        self.tables.timeline += 1;
    }

    async fn is_settling(&mut self) -> bool {
        self.tables.is_settling(self.now)
    }
}
