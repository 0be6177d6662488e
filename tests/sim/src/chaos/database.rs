//! What happens to the database server: it goes away, a standby takes over, a backup is restored.

use super::Blow;
use crate::{
    clock::SECOND,
    network::Peer,
    world::{Copied, Event, World},
};

impl World {
    pub(super) fn fail_over(&mut self) {
        if !self.database.up || self.database.copy.is_some() {
            return;
        }
        if self.random.chance(300) {
            self.chaos("the database goes away".to_owned());
            self.database.up = false;
            let lasts = self.random.between(SECOND, 60 * SECOND);
            self.after(lasts, Event::Blow(Blow::DatabaseUp));
            return;
        }
        let lag = self.random.between(1, 3 * SECOND);
        self.copy();
        self.after(lag, Event::Blow(Blow::TakeOver("fails over")));
    }

    pub(super) fn restore(&mut self) {
        if !self.database.up || self.database.copy.is_some() {
            return;
        }
        let age = self.random.between(20, 180) * SECOND;
        self.copy();
        self.after(age, Event::Blow(Blow::TakeOver("is restored")));
    }

    fn copy(&mut self) {
        self.database.copy = Some(Copied {
            at: self.now,
            acknowledged: self.intents.mark(),
            tables: Box::new(self.tables.clone()),
        });
    }

    /// What nodes have seen of the lost history, they can show only when the new one has gone on.
    pub(super) fn relapse(&mut self) {
        if !self.database.up || self.database.copy.is_some() || !self.network.is_whole() {
            return;
        }
        self.copy();
        let cut = self.random.between(2, 20) * SECOND;
        self.after(SECOND, Event::Blow(Blow::Promoted));
        self.after(cut, Event::Blow(Blow::CutAll));
        self.after(cut + SECOND, Event::Blow(Blow::TakeOver("is restored")));
    }

    pub(super) fn promoted(&mut self) {
        if self.database.copy.is_none() {
            return;
        }
        self.chaos("a standby that has everything takes over".to_owned());
        self.tables.timeline += 1;
    }

    pub(super) fn cut_all(&mut self) {
        if self.database.copy.is_none() {
            return;
        }
        let replicas = (0..self.replicas.len()).map(Peer::Replica);
        let replicas: Vec<Peer> = replicas.collect();
        let peers: Vec<Peer> = self.peers.values().copied().collect();
        self.chaos("no node reaches a control plane".to_owned());
        for peer in peers {
            let pairs = replicas.iter().flat_map(|replica| {
                let there = (*replica, peer);
                [there, (there.1, there.0)]
            });
            let cut = self.network.cut(pairs.collect());
            let lasts = self.random.between(60, 180) * SECOND;
            self.after(lasts, Event::Blow(Blow::Mend(cut)));
        }
        self.lines_cut();
    }

    pub(super) fn database_up(&mut self) {
        if !self.database.up {
            self.chaos("the database is back".to_owned());
            self.database.up = true;
            self.database.since = self.now;
        }
    }

    pub(super) fn take_over(&mut self, how: &str) {
        let Some(copied) = self.database.copy.take() else {
            return;
        };
        let at = copied.at;
        self.chaos(format!("the database {how}, to {at} ms"));
        let (timeline, clock) = (self.tables.timeline + 1, self.tables.clock);
        self.tables = *copied.tables;
        (self.tables.timeline, self.tables.clock) = (timeline, clock);
        self.let_go.clear();
        self.database.up = false;
        self.checker.history_cut(&self.tables, self.now);
        self.intents.cut(copied.acknowledged);
        let lasts = self.random.between(200, 8 * SECOND);
        self.after(lasts, Event::Blow(Blow::DatabaseUp));
    }

    /// An operator has seen that no feed is served, and says which history is true.
    pub(crate) fn say_restored(&mut self) {
        if self.tables.platform.shown.is_none() {
            return;
        }
        if !self.database.up {
            self.after(SECOND, Event::Blow(Blow::Restored));
            return;
        }
        let epoch = self.tables.restored();
        self.chaos(format!("an operator begins epoch {}", epoch.0));
        self.checker.epoch_began(self.now);
        self.written_anew();
        self.after_commit();
    }
}
