//! Which of the feed's builds is next, and what is told of each: decisions without their work. One is made at a
//! time, the oldest first; what the feed has dropped is given up, and what has ended stays so until it drops it.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    sync::Arc,
};

use chrono::{DateTime, Utc};

use domain::id::BuildId;
use protocol::{
    item::BuildItem,
    report::{BuildReport, BuildResult, BuildState, Problem},
};

use super::{error::Error, record::Record};

/// Builds that wait; later ones fail at once with a code.
const QUEUE_MAX: usize = 100;

/// The builds of a document.
pub type Items = BTreeMap<BuildId, Arc<BuildItem>>;

/// A node's builds, as far as they came.
#[derive(Debug, Default)]
pub struct Queue {
    builds: BTreeMap<BuildId, Record>,
    /// Whose records on disk are old.
    unsaved: BTreeSet<BuildId>,
    running: Option<BuildId>,
}

impl Queue {
    /// What a former process left on disk: what it was at begins again.
    #[must_use]
    pub fn resumed(mut builds: BTreeMap<BuildId, Record>) -> Self {
        builds.values_mut().for_each(Record::after_restart);
        Self {
            builds,
            ..Self::default()
        }
    }

    /// Follows the newest document; whether the build that runs shall end.
    #[must_use]
    pub fn follow(&mut self, wanted: &Items) -> bool {
        let mut ends = self.forget_others(wanted);
        for item in wanted.values() {
            self.take_in(item);
            if item.cancel {
                ends |= self.cancel(item.id);
            }
        }
        self.shorten();
        ends
    }

    /// What another history of the database had canceled, this one may want.
    fn take_in(&mut self, item: &BuildItem) {
        match self.builds.entry(item.id) {
            Entry::Vacant(entry) => {
                entry.insert(Record::new(item.id));
            }
            Entry::Occupied(mut entry) if entry.get().is_canceled() && !item.cancel => {
                entry.insert(Record::new(item.id));
                self.unsaved.insert(item.id);
            }
            Entry::Occupied(_) => {}
        }
    }

    fn forget_others(&mut self, wanted: &Items) -> bool {
        let gone = self.builds.keys().filter(|id| !wanted.contains_key(id));
        let mut ends = false;
        for id in gone.copied().collect::<Vec<_>>() {
            if self.running == Some(id) {
                ends = true;
                continue;
            }
            self.builds.remove(&id);
            self.unsaved.insert(id);
        }
        ends
    }

    fn cancel(&mut self, id: BuildId) -> bool {
        let is_running = self.running == Some(id);
        if !is_running {
            self.fail_waiting(id, &Error::Canceled);
        }
        is_running
    }

    fn fail_waiting(&mut self, id: BuildId, error: &Error) {
        let waits = |record: &&mut Record| !record.is_ended();
        if let Some(record) = self.builds.get_mut(&id).filter(waits) {
            record.end(Err(error.problem()));
            self.unsaved.insert(id);
        }
    }

    fn shorten(&mut self) {
        let waiting = self.builds.values().filter(|record| !record.is_ended());
        let late: Vec<BuildId> = waiting
            .map(|record| record.report.id)
            .skip(QUEUE_MAX)
            .filter(|id| self.running != Some(*id))
            .collect();
        for id in late {
            self.fail_waiting(id, &Error::QueueFull { limit: QUEUE_MAX });
        }
    }

    /// Takes the next one up, unless one runs. Ids sort by time: the first one is the oldest.
    pub fn begin(&mut self, wanted: &Items, now: DateTime<Utc>) -> Option<Arc<BuildItem>> {
        if self.running.is_some() {
            return None;
        }
        let waiting = self.builds.values_mut().filter(|record| !record.is_ended());
        let (item, record) = waiting
            .filter_map(|record| Some((wanted.get(&record.report.id)?, record)))
            .next()?;
        record.begin(now);
        self.unsaved.insert(item.id);
        self.running = Some(item.id);
        Some(Arc::clone(item))
    }

    /// The one that runs is further.
    pub fn enter(&mut self, state: BuildState) {
        let record = self.running.and_then(|id| self.builds.get_mut(&id));
        if let Some(record) = record {
            record.report.state = state;
        }
    }

    /// The one that runs has ended.
    pub fn finish(&mut self, result: Result<BuildResult, Problem>) {
        let Some(id) = self.running.take() else {
            return;
        };
        if let Some(record) = self.builds.get_mut(&id) {
            record.end(result);
            self.unsaved.insert(id);
        }
    }

    /// What the disk must have before anybody hears of it: records to write, and to remove.
    pub fn take_unsaved(&mut self) -> Vec<(BuildId, Option<Record>)> {
        let unsaved = std::mem::take(&mut self.unsaved).into_iter();
        unsaved
            .map(|id| (id, self.builds.get(&id).cloned()))
            .collect()
    }

    /// All of them, as reported.
    #[must_use]
    pub fn reports(&self) -> Vec<BuildReport> {
        let reports = self.builds.values().map(|record| record.report.clone());
        reports.collect()
    }
}

#[cfg(test)]
mod tests {
    use domain::{
        id::{DeploymentId, OrganizationId, ServiceId},
        quantity::{Bytes, Span},
    };
    use protocol::item::BuildSource;

    use super::*;

    fn item(id: BuildId, cancel: bool) -> Arc<BuildItem> {
        Arc::new(BuildItem {
            id,
            cancel,
            organization_id: OrganizationId::new(),
            service_id: ServiceId::new(),
            deployment_id: DeploymentId::new(),
            source: BuildSource::Git {
                repo: "https://git.example.com/a.git".into(),
                reference: None,
                deploy_key: None,
            },
            root: "/".into(),
            dockerfile_path: "Dockerfile".into(),
            args: BTreeMap::new(),
            secrets: BTreeMap::new(),
            repository: "registry.example.com/org/svc".into(),
            timeout: Span::seconds(60),
            traceparent: None,
        })
    }

    fn document(items: &[(BuildId, bool)]) -> Items {
        let items = items.iter();
        items
            .map(|(id, cancel)| (*id, item(*id, *cancel)))
            .collect()
    }

    fn built() -> BuildResult {
        BuildResult {
            digest: "sha256:00".into(),
            size: Bytes(1),
            commit: None,
            source_digest: None,
        }
    }

    fn begin(queue: &mut Queue, wanted: &Items) -> Option<BuildId> {
        queue.begin(wanted, Utc::now()).map(|item| item.id)
    }

    fn code(queue: &Queue, id: BuildId) -> Option<String> {
        let report = queue.reports().into_iter().find(|report| report.id == id)?;
        match report.state {
            BuildState::Failed { problem } => Some(problem.code),
            _ => None,
        }
    }

    #[test]
    fn one_is_made_at_a_time_and_what_the_feed_drops_is_given_up() {
        let (first, second) = (BuildId::new(), BuildId::new());
        let both = document(&[(first, false), (second, false)]);
        let mut queue = Queue::default();
        assert!(!queue.follow(&both));
        assert_eq!(begin(&mut queue, &both), Some(first));
        assert_eq!(begin(&mut queue, &both), None, "one runs");
        queue.finish(Ok(built()));
        assert_eq!(begin(&mut queue, &both), Some(second));

        let neither = document(&[]);
        assert!(queue.follow(&neither), "the one that runs shall end");
        assert_eq!(queue.reports().len(), 1, "until then it is known");
        queue.finish(Err(Error::Canceled.problem()));
        assert!(!queue.follow(&neither));
        assert!(queue.reports().is_empty());
        let unsaved = queue.take_unsaved();
        assert!(unsaved.iter().all(|(_, record)| record.is_none()) && unsaved.len() == 2);
    }

    #[test]
    fn one_that_waits_is_canceled_at_once_and_one_that_runs_is_told() {
        let (first, second) = (BuildId::new(), BuildId::new());
        let both = document(&[(first, false), (second, false)]);
        let mut queue = Queue::default();
        assert!(!queue.follow(&both));
        assert_eq!(begin(&mut queue, &both), Some(first));
        assert!(queue.follow(&document(&[(first, true), (second, true)])));
        assert_eq!(code(&queue, first), None, "it has not ended yet");
        assert_eq!(code(&queue, second).as_deref(), Some("build_canceled"));
    }

    /// A database that was restored to before the cancellation wants the image.
    #[test]
    fn what_is_not_canceled_any_more_begins_again() {
        let id = BuildId::new();
        let mut queue = Queue::default();
        assert!(!queue.follow(&document(&[(id, true)])));
        assert_eq!(code(&queue, id).as_deref(), Some("build_canceled"));
        let wanted = document(&[(id, false)]);
        assert!(!queue.follow(&wanted));
        assert_eq!(begin(&mut queue, &wanted), Some(id));
        queue.finish(Ok(built()));
        assert!(!queue.follow(&document(&[(id, true)])));
        assert_eq!(code(&queue, id), None, "what has its image keeps it");
    }

    #[test]
    fn those_that_come_too_late_fail_at_once() {
        let ids: Vec<BuildId> = (0..=QUEUE_MAX).map(|_| BuildId::new()).collect();
        let items: Vec<(BuildId, bool)> = ids.iter().map(|id| (*id, false)).collect();
        let mut queue = Queue::default();
        assert!(!queue.follow(&document(&items)));
        let mut failed = ids.iter().filter(|id| code(&queue, **id).is_some());
        assert_eq!(failed.next(), ids.iter().max());
        assert_eq!(failed.next(), None);
    }
}
