//! The platform's own part: liveness, the epoch, and where edges and agents are.

use control_plane::{
    feed::platform_routes::{View, changes},
    store::liveness::GAP,
};

use super::Task;
use crate::{
    clock::{Millis, SECOND},
    trace::Note,
    world::World,
};

/// As the control plane's configuration has it.
const LATE_AFTER: Millis = 45 * SECOND;

impl World {
    pub(super) fn turn_nodes(&mut self) {
        self.tables.follow_timeline();
        let gap = GAP.as_millis().try_into().unwrap_or_default();
        self.tables.listen(gap, self.now);
        self.tables.mark_late(LATE_AFTER, self.now);
        let lost = self.tables.stop_fenced();
        let disturbed = self.tables.disturbed(self.now).into_iter();
        let disturbed: Vec<_> = disturbed.chain(lost.iter().map(|(of, _)| *of)).collect();
        for service in &disturbed {
            self.evaluate(*service);
        }
        for (_, instance) in &lost {
            self.note(Note::Stop(*instance, "fence".to_owned()));
        }
        if !disturbed.is_empty() {
            self.wake(Task::Evaluations);
        }
        if !lost.is_empty() {
            self.wake(Task::Instances);
            self.wake(Task::Routes);
            self.wake(Task::PlatformRoutes);
        }
    }

    /// A new epoch is a new document of every feed.
    pub fn written_anew(&mut self) {
        self.tables.written = self.tables.feeds.keys().cloned().collect();
    }

    pub(super) fn turn_platform_routes(&mut self) {
        self.renew_shown();
        let Some(rings) = self.rings() else {
            return;
        };
        let rows = self.tables.platform_rows(&rings);
        // The same would come out again: most turns find nothing new, and there are many.
        if self.tables.platform_written.as_ref() == Some(&rows) {
            return;
        }
        let tables = &self.tables;
        let view = View {
            regions: &tables.regions,
            edges: &rows.edges,
            agents: &rows.agents,
            certificates: &[],
            challenges: &[],
            denied: &rows.denied,
            existing: &tables.platform_items(),
            denied_to: &tables.denied_in_feeds_of_agents(),
        };
        if let Ok(changes) = changes(&view, &rings) {
            self.tables.write_feeds(changes);
            self.tables.platform_written = Some(rows);
        }
    }
}
