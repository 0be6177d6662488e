//! All instances that this node wants, runs or remembers. Documents and what the engine tells come in
//! as facts; without any I/O, so that the simulation runs exactly this.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use chrono::TimeDelta;
use domain::{id::InstanceId, instance::State};

use super::{Clock, Goal, Instance, Record, View};
use crate::{
    desired::{Desired, Wanted},
    runtime::Container,
};

/// A stopped instance stays in reports this long after its item is gone.
const KEPT_AFTER_STOP: TimeDelta = TimeDelta::minutes(10);

/// So long an agent that starts listens whether its document is the newest before it starts programs: its machine may have been
/// declared dead, and what ran here may run elsewhere.
const LISTENS: Duration = Duration::from_secs(3);

/// The instances of one node.
#[derive(Debug)]
pub struct Roster {
    instances: BTreeMap<InstanceId, Instance>,
    /// Until then nothing is started; none once the control plane was heard.
    listens_until: Option<Instant>,
}

impl Roster {
    /// What the disk remembers; nothing of it was looked at yet.
    #[must_use]
    pub fn remembered(records: &BTreeMap<InstanceId, Record>, clock: Clock) -> Self {
        let instance = |(id, record): (&InstanceId, &Record)| (*id, Instance::new(record.clone()));
        Self {
            instances: records.iter().map(instance).collect(),
            listens_until: Some(clock.now + LISTENS),
        }
    }

    /// What the disk shall remember.
    #[must_use]
    pub fn records(&self) -> BTreeMap<InstanceId, Record> {
        let record = |(id, instance): (&InstanceId, &Instance)| (*id, instance.record.clone());
        self.instances.iter().map(record).collect()
    }

    /// All of them.
    #[must_use]
    pub const fn all(&self) -> &BTreeMap<InstanceId, Instance> {
        &self.instances
    }

    /// All of them, to take facts about each.
    pub const fn all_mut(&mut self) -> &mut BTreeMap<InstanceId, Instance> {
        &mut self.instances
    }

    /// Host ports of containers that there are.
    #[must_use]
    pub fn held_ports(&self) -> BTreeSet<u16> {
        let held = |instance: &Instance| instance.container.as_ref()?.host_port;
        self.instances.values().filter_map(held).collect()
    }

    /// What a decision is made from.
    #[must_use]
    pub const fn view(&self, clock: Clock) -> View<'_> {
        View {
            now: clock.now,
            instances: &self.instances,
            starts_from: self.listens_until,
        }
    }

    /// A new document. What it no longer has, or lets go by name, shall end; what it only lacks runs on.
    pub fn want(&mut self, desired: &Desired) {
        if !desired.unheard {
            self.listens_until = None;
        }
        for (id, wanted) in &desired.instances {
            let new = || Instance::new(Record::new(&wanted.item));
            want(self.instances.entry(*id).or_insert_with(new), wanted);
        }
        for (id, instance) in &mut self.instances {
            if !desired.instances.contains_key(id) {
                lack(instance, desired.let_go.contains(id));
            }
        }
    }

    /// What the engine has, all of it. Unknown containers are adopted. Answers which runs have ended.
    pub fn observe(&mut self, containers: Vec<Container>, clock: Clock) -> Vec<InstanceId> {
        let mut seen: BTreeMap<InstanceId, Container> = containers
            .into_iter()
            .map(|container| (container.labels.instance, container))
            .collect();
        for (id, container) in &seen {
            self.instances
                .entry(*id)
                .or_insert_with(|| Instance::new(Record::adopted(&container.labels)));
        }
        let mut ended = Vec::new();
        for (id, instance) in &mut self.instances {
            let counted = instance.record.counted_end;
            instance.observe(seen.remove(id), clock);
            if instance.record.counted_end != counted {
                ended.push(*id);
            }
        }
        self.instances
            .retain(|_, instance| !is_forgotten(instance, clock));
        ended
    }
}

fn want(instance: &mut Instance, wanted: &Wanted) {
    instance.documented_now = true;
    instance.orphaned = wanted.orphaned;
    instance.record.documented = true;
    instance.record.stop_signal = wanted.item.stop_signal;
    instance.record.draining = wanted.item.draining;
    instance.goal = instance.goal_by(&wanted.item);
}

/// The newest document lacks it, and `link` has let that pass. Only from what the document before it has shown is that a drop:
/// where the feed's snapshot was lost, the records are older than any document, and what they know may have been forgotten by
/// a restored database. Whoever has let it go says so again, by name.
fn lack(instance: &mut Instance, let_go: bool) {
    let begun = instance.goal == Goal::Stop || instance.record.state >= State::Draining;
    let ends = let_go || begun || instance.documented_now;
    instance.documented_now = false;
    instance.orphaned = false;
    instance.record.documented = ends;
    instance.goal = if ends { Goal::Stop } else { Goal::Leave };
}

fn is_forgotten(instance: &Instance, clock: Clock) -> bool {
    let gone = instance.container.is_none() && !instance.busy;
    let rested = instance
        .record
        .stopped_at
        .is_some_and(|at| clock.wall - at >= KEPT_AFTER_STOP);
    gone && (!instance.record.documented || rested && !instance.documented_now)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use domain::id::{DeploymentId, EnvironmentId, OrganizationId, ReleaseId, ServiceId};
    use protocol::item::InstanceItem;

    use super::{
        super::{
            Action, decide,
            tests::{item, service},
            wake_at,
        },
        *,
    };
    use crate::runtime::{Labels, Phase};

    fn container(instance: InstanceId) -> Container {
        Container {
            labels: Labels {
                instance,
                service: ServiceId::new(),
                release: ReleaseId::new(),
                environment: EnvironmentId::new(),
                organization: OrganizationId::new(),
                deployment: DeploymentId::new(),
            },
            phase: Phase::Created,
            image_digest: None,
            ip: None,
            host_port: None,
            published: None,
        }
    }

    #[test]
    fn what_no_document_ever_had_ends_when_it_is_let_go_by_name_and_only_then() {
        let (stays, goes) = (InstanceId::new(), InstanceId::new());
        let mut roster = Roster::remembered(&BTreeMap::new(), Clock::read());
        let both = vec![container(stays), container(goes)];
        roster.observe(both, Clock::read());
        roster.want(&Desired::default());
        let goals = |roster: &Roster| [stays, goes].map(|id| roster.all()[&id].goal.clone());
        assert_eq!(goals(&roster), [Goal::Leave, Goal::Leave]);

        let let_go = BTreeSet::from([goes]);
        roster.want(&Desired {
            let_go,
            ..Desired::default()
        });
        assert_eq!(goals(&roster), [Goal::Leave, Goal::Stop]);
        roster.want(&Desired::default());
        assert_eq!(goals(&roster), [Goal::Leave, Goal::Stop], "once is enough");
    }

    /// As after a start: the records are there, and of the feed what is given.
    fn started(records: &BTreeMap<InstanceId, Record>, containers: &[Container]) -> Roster {
        let mut roster = Roster::remembered(records, Clock::read());
        roster.observe(containers.to_vec(), Clock::read());
        roster
    }

    #[test]
    fn nothing_is_started_by_a_document_that_may_be_old_before_the_control_plane_had_time_to_say_so()
     {
        let run = item(service());
        let mut clock = Clock::read();
        let wanted = |unheard| Desired {
            instances: BTreeMap::from([(
                run.id,
                Wanted {
                    item: Arc::new(run.clone()),
                    orphaned: false,
                    stored: None,
                },
            )]),
            unheard,
            ..Desired::default()
        };
        let started = |clock: Clock| {
            let mut roster = Roster::remembered(&BTreeMap::new(), clock);
            roster.want(&wanted(true));
            roster.observe(vec![container(run.id)], clock);
            roster
        };
        let mut roster = started(clock);
        assert_eq!(decide(&roster.view(clock)), []);
        assert_eq!(wake_at(&roster.view(clock)), Some(clock.now + LISTENS));
        clock.now += LISTENS;
        let start = [Action::Start(run.id)];
        assert_eq!(decide(&roster.view(clock)), start, "nobody says anything");

        roster = started(clock);
        roster.want(&wanted(false));
        assert_eq!(decide(&roster.view(clock)), start, "it is the newest");

        roster = started(clock);
        roster.want(&Desired::default());
        let remove = [Action::Remove(run.id)];
        assert_eq!(decide(&roster.view(clock)), remove, "it runs elsewhere");
    }

    #[test]
    fn a_document_ends_what_it_has_dropped_and_not_what_it_only_lacks() {
        let (run, other) = (item(service()), item(service()));
        let desired = |items: &[&InstanceItem]| {
            let wanted = |item: &&InstanceItem| {
                let wanted = Wanted {
                    item: Arc::new(InstanceItem::clone(item)),
                    orphaned: false,
                    stored: None,
                };
                (item.id, wanted)
            };
            Desired {
                instances: items.iter().map(wanted).collect(),
                ..Desired::default()
            }
        };
        let containers = [container(run.id)];
        let mut before = started(&BTreeMap::new(), &containers);
        before.want(&desired(&[&run, &other]));
        let records = before.records();
        let goal = |roster: &Roster| roster.all()[&run.id].goal.clone();

        let mut lost = started(&records, &containers);
        lost.want(&desired(&[&other]));
        assert_eq!(goal(&lost), Goal::Leave, "nobody knows who dropped it");
        let report = |roster: &Roster| roster.all()[&run.id].report(run.id, [10, 0, 0, 1].into());
        assert!(report(&lost).orphaned);
        lost.want(&desired(&[&run, &other]));
        assert!(!report(&lost).orphaned);
        lost.want(&desired(&[&other]));
        assert_eq!(goal(&lost), Goal::Stop, "it was there and is not any more");
        lost.want(&desired(&[]));
        assert_eq!(goal(&lost), Goal::Stop);

        let mut kept = started(&records, &containers);
        kept.want(&desired(&[&run, &other]));
        kept.want(&desired(&[&other]));
        assert_eq!(goal(&kept), Goal::Stop, "dropped while it was away");

        let ending = kept.all_mut().get_mut(&run.id).unwrap();
        ending.begin(Action::Signal(run.id));
        let mut again = started(&kept.records(), &containers);
        again.want(&desired(&[&other]));
        assert_eq!(goal(&again), Goal::Stop, "what was begun is ended");
        again.want(&desired(&[&run, &other]));
        assert_eq!(goal(&again), Goal::Stop, "and not taken up again");
    }
}
