//! From what a zone shall say and what it says to the changes that are needed. Pure. A name without our mark is
//! never changed, and one that is wanted never loses the last addresses that it has.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use super::{
    goal::Goal,
    owner::{Owner, mark_name},
    record::{Key, Kind, RecordSet, Routing},
};

/// A change of one set of records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// There is none.
    Create(RecordSet),
    /// It says something else. Both have the same key.
    Replace {
        /// What it says.
        old: RecordSet,
        /// What it shall say.
        new: RecordSet,
    },
    /// It is no longer wanted.
    Delete(RecordSet),
}

impl Change {
    /// The name that it is about.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Create(set) | Self::Replace { new: set, .. } | Self::Delete(set) => &set.name,
        }
    }

    /// For metrics.
    #[must_use]
    pub const fn action(&self) -> &'static str {
        match self {
            Self::Create(_) => "create",
            Self::Replace { .. } => "replace",
            Self::Delete(_) => "delete",
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = match self {
            Self::Create(set) | Self::Replace { new: set, .. } | Self::Delete(set) => set,
        };
        let values: Vec<&str> = set.values.iter().map(String::as_str).collect();
        let (action, key) = (self.action(), set.key());
        write!(f, "{action} {key}: {}", values.join(", "))
    }
}

/// A name that shall be ours, or is marked so, and has something that is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign {
    /// The name.
    pub name: String,
    /// What is there.
    pub reason: String,
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.reason)
    }
}

/// What is to be done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Name by name: those of one name stand together, and belong into one call.
    pub changes: Vec<Change>,
    /// Names that are left alone.
    pub foreign: Vec<Foreign>,
    /// Sets that stay as they are, as nothing better is known.
    pub kept: Vec<Key>,
}

/// Brings what is present to the goals; of the rest, what is marked as ours goes.
#[must_use]
pub fn plan(goals: &[Goal], present: &[RecordSet], owner: &Owner) -> Plan {
    let mut names: BTreeMap<String, View<'_>> = BTreeMap::new();
    for goal in goals {
        names.entry(goal.key().name).or_default().goals.push(goal);
    }
    for name in present.iter().filter_map(|set| owner.marked(set)) {
        names.entry(name).or_default();
    }
    let by_name = by_name(present);
    let mut plan = Plan::default();
    for (name, mut view) in names {
        let mark = by_name.get(mark_name(&name).as_str());
        view.mark = mark
            .into_iter()
            .flatten()
            .find(|set| set.kind == Kind::Txt)
            .copied();
        let found = by_name.get(name.as_str()).into_iter().flatten();
        view.present = found.filter(|set| set.kind != Kind::Txt).copied().collect();
        match view.foreign(&name, owner) {
            Some(reason) => plan.foreign.push(Foreign { name, reason }),
            None => view.plan(&name, owner, &mut plan),
        }
    }
    plan
}

fn by_name(present: &[RecordSet]) -> BTreeMap<&str, Vec<&RecordSet>> {
    let mut by_name: BTreeMap<&str, Vec<&RecordSet>> = BTreeMap::new();
    for set in present {
        by_name.entry(&set.name).or_default().push(set);
    }
    by_name
}

/// One name.
#[derive(Default)]
struct View<'a> {
    goals: Vec<&'a Goal>,
    /// Addresses and what stands in their way.
    present: Vec<&'a RecordSet>,
    mark: Option<&'a RecordSet>,
}

impl View<'_> {
    /// Why the name is to be left alone.
    fn foreign(&self, name: &str, owner: &Owner) -> Option<String> {
        let mark_name = mark_name(name);
        match self.mark {
            Some(mark) if owner.marked(mark).is_none() => {
                let said: Vec<&str> = mark.values.iter().map(String::as_str).collect();
                let said = said.join("\", \"");
                return Some(format!(
                    "is another installation's: TXT {mark_name} says \"{said}\""
                ));
            }
            None if !self.present.is_empty() => {
                let found = shown(&self.present);
                let text = owner.text();
                return Some(format!(
                    "has {found} without our mark; remove that, or give it to the platform: TXT {mark_name} \"{text}\""
                ));
            }
            _ => {}
        }
        let strange = |set: &&&RecordSet| {
            set.kind == Kind::Cname || matches!(set.routing, Routing::Foreign { .. })
        };
        let strange: Vec<&RecordSet> = self.present.iter().filter(strange).copied().collect();
        (!strange.is_empty()).then(|| {
            let found = shown(&strange);
            format!("has {found}, which this platform did not make so; remove that")
        })
    }

    fn plan(&self, name: &str, owner: &Owner, plan: &mut Plan) {
        let mark = owner.mark(name);
        let wants_addresses = self.goals.iter().any(|goal| matches!(goal, Goal::Set(_)));
        match self.mark {
            None if wants_addresses => plan.changes.push(Change::Create(mark)),
            // A name that was never ours has nothing to keep.
            None => return,
            Some(old) if *old != mark && !self.goals.is_empty() => {
                plan.changes.push(Change::Replace {
                    old: old.clone(),
                    new: mark,
                });
            }
            Some(_) => {}
        }
        self.delete_unwanted(plan);
        for goal in &self.goals {
            let old = self.present.iter().find(|set| set.key() == goal.key());
            match (goal, old) {
                (Goal::Keep(key), Some(_)) => plan.kept.push(key.clone()),
                (Goal::Set(new), None) => plan.changes.push(Change::Create(new.clone())),
                (Goal::Set(new), Some(old)) if new != *old => {
                    plan.changes.push(Change::Replace {
                        old: (*old).clone(),
                        new: new.clone(),
                    });
                }
                (Goal::Keep(_), None) | (Goal::Set(_), Some(_)) => {}
            }
        }
        if self.goals.is_empty() {
            plan.changes.extend(self.mark.cloned().map(Change::Delete));
        }
    }

    /// What no goal is about goes, unless nothing would be left of a name that is wanted.
    fn delete_unwanted(&self, plan: &mut Plan) {
        let wanted: BTreeSet<Key> = self.goals.iter().map(|goal| goal.key()).collect();
        let is_wanted = |set: &&&RecordSet| wanted.contains(&set.key());
        let leaves_something = self.goals.is_empty()
            || self.goals.iter().any(|goal| matches!(goal, Goal::Set(_)))
            || self.present.iter().any(|set| is_wanted(&set));
        for set in self.present.iter().filter(|set| !is_wanted(set)) {
            if leaves_something {
                plan.changes.push(Change::Delete((*set).clone()));
            } else {
                plan.kept.push(set.key());
            }
        }
    }
}

fn shown(sets: &[&RecordSet]) -> String {
    let kinds: BTreeSet<&str> = sets.iter().map(|set| set.kind.as_str()).collect();
    let kinds: Vec<&str> = kinds.into_iter().collect();
    format!("{} records", kinds.join(" and "))
}

#[cfg(test)]
mod tests;
