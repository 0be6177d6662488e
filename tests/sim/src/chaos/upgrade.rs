//! Replicas are replaced by newer programs, one at a time: older and newer ones run side by side.

use control_plane::store::rollout::Progress;

use super::Blow;
use crate::{clock::SECOND, rendering::Quality, world::World};

impl World {
    /// A replica comes back with the newest program, or with one that nobody has yet.
    pub(super) fn upgrade(&mut self) {
        let newest = self.newest_program();
        let replicas = self.replicas.iter();
        let older = replicas.filter(|replica| replica.version < newest);
        let older: Vec<usize> = older.map(|replica| replica.index).collect();
        let rests = self.tables.rollout.newest.state != Progress::Running;
        let is_next = self.random.chance(match (rests, older.is_empty()) {
            (true, true) => 1_000,
            (true, false) => 300,
            (false, _) => 100,
        });
        let (index, version) = if is_next {
            (
                self.random.below(self.replicas.len()),
                self.next_version(newest),
            )
        } else {
            let Some(index) = self.random.pick(&older).copied() else {
                return;
            };
            (index, newest)
        };
        self.chaos(format!("replica {index} is replaced by program {version}"));
        self.kill_replica(index);
        self.replicas[index].version = version;
        let back = self.random.between(SECOND, 20 * SECOND);
        self.after(back, super::Event::Blow(Blow::StartReplica(index)));
    }

    /// Of all replicas, whether they run or not.
    #[must_use]
    pub(crate) fn newest_program(&self) -> i32 {
        let versions = self.replicas.iter().map(|replica| replica.version);
        versions.max().unwrap_or_default()
    }

    /// One of the next few. What only shows by requests is found where there are many.
    fn next_version(&mut self, newest: i32) -> i32 {
        let many = self.weather.often;
        let shows = |version: &i32| many || Quality::of(*version).shows_at_once();
        let next: Vec<i32> = (newest + 1..=newest + 7).filter(shows).collect();
        self.random.pick(&next).copied().unwrap_or(newest + 1)
    }
}
