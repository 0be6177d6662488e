//! Instances that shall go: the real decision, then its writes.

use control_plane::{
    feed::{
        instance::{item_id, render},
        route::Changes,
    },
    reconcile::instances::{Action, decide},
    store::{
        feed::Change,
        instance::{Going, drop_cause},
    },
};
use domain::{deployment::acknowledgement::Follower, instance::Desired};
use protocol::{feed::FeedName, item::NodeItem};

use super::{Prepared, Task};
use crate::{fault::Fault, trace::Note, world::World};

/// A decision about an instance that is about to be written.
#[derive(Debug)]
pub struct Leave {
    going: Going,
    action: Action,
}

impl Leave {
    pub(super) fn writes_routes(&self) -> bool {
        self.action == Action::Unroute
    }
}

impl World {
    pub(super) fn turn_instances(&mut self, replica: usize) {
        for (order, going) in self.tables.going(self.now).into_iter().enumerate() {
            let standing = || self.tables.standing(going.service);
            let positions = going.unrouted.clone().unwrap_or_else(standing);
            let mut followers = self.tables.followers(&positions);
            if self.fault == Some(Fault::DrainBeforeAcknowledge) {
                followers
                    .iter_mut()
                    .for_each(|follower| follower.applied = true);
            }
            let action = decide(&going, &followers);
            if action == Action::Tell {
                self.check_followers(&going, &followers);
            }
            if action != Action::Wait {
                let leave = Leave { going, action };
                self.commit_later(replica, order, Prepared::Leave(Box::new(leave)));
            }
        }
    }

    fn check_followers(&mut self, going: &Going, followers: &[Follower]) {
        let late = followers.iter().any(|follower| !follower.applied);
        if late {
            self.checker.tolerated_late_edges(going.id);
        }
    }

    pub(super) fn commit_leave(&mut self, leave: &Leave) {
        let going = &leave.going;
        match leave.action {
            Action::Wait => {}
            Action::Unroute => {
                self.release_region(going.service, &going.region);
                self.wake(Task::Instances);
            }
            Action::Tell => self.tell(going),
            Action::Forget => self.forget(going),
        }
    }

    fn tell(&mut self, going: &Going) {
        if !self.tables.tell(going.id) {
            return;
        }
        self.note(Note::Told(going.id));
        self.checker.told(going.id);
        let feed = FeedName::Node(going.node);
        let stored = self.tables.feeds.get(&feed);
        let item = stored.and_then(|row| row.document.get(&item_id(going.id)));
        let parsed = item.and_then(|item| serde_json::from_str(item.json()).ok());
        let Some(NodeItem::Instance(mut item)) = parsed else {
            return;
        };
        item.desired = Desired::Stop;
        if let Ok((item, secrets)) = render(*item) {
            let id = item_id(going.id);
            let change = Change::Put { id, item, secrets };
            self.tables
                .write_feeds(Changes::from([(feed, vec![change])]));
        }
    }

    fn forget(&mut self, going: &Going) {
        if !self.tables.gone(going.id) {
            return;
        }
        self.note(Note::Gone(going.id));
        self.checker.told(going.id);
        self.checker.reserved(&self.tables, going.node);
        let change = Change::Delete {
            id: item_id(going.id),
            cause: drop_cause(&going.cause),
        };
        let changes = Changes::from([(FeedName::Node(going.node), vec![change])]);
        self.tables.write_feeds(changes);
        for service in self.tables.revive_evaluations(true, self.now) {
            self.evaluate(service);
        }
        self.wake(Task::Evaluations);
        self.wake(Task::Deployments);
    }
}
