//! Poisoned feeds: whatever a control plane sends, well signed or not, no node dies of it, what runs
//! runs on, requests are served by the last good state, and the next right document is taken.
//! `RAILHEAD_POISON=full` sends 10,000 of them, `RAILHEAD_POISON_SEED` others.

#![allow(clippy::print_stdout, reason = "a failure is told to people")]

mod good;
mod memory;
mod victim;

use std::{collections::BTreeMap, env};

use domain::id::ServiceId;
use link::follow::Standing;
use protocol::feed::{DropCause, signature::FeedKeys};
use testkit::poison::{Chance, Forge, Items, Kind, Kitchen};

use good::Good;
use victim::{Victim, names};

/// A feed of a node that is agent and edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feed {
    Node,
    Global,
    Region,
}

impl Feed {
    const ALL: [Self; 3] = [Self::Node, Self::Global, Self::Region];

    fn items(self, good: &Good) -> Items {
        match self {
            Self::Node => good.node_items(),
            Self::Global => good.global_items(),
            Self::Region => good.region_items(),
        }
    }
}

/// What a node could get wrong; the checks must notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    TrustsAnyKey,
    HasNoBrake,
}

struct Trial {
    good: Good,
    forges: [Forge; 3],
    victim: Victim,
    chance: Chance,
    fault: Option<Fault>,
    /// Of each kind: how many came through as a document, of how many.
    told: BTreeMap<Kind, (u32, u32)>,
}

impl Trial {
    fn new(seed: u64, fault: Option<Fault>) -> Self {
        let good = Good::new();
        let forges = names(&good).map(Forge::new);
        let mut keys: Vec<String> = forges.iter().map(Forge::public_key).collect();
        if fault == Some(Fault::TrustsAnyKey) {
            keys.extend(forges.iter().map(Forge::forgers_key));
        }
        let victim = Victim::new(&good, FeedKeys::from_base64(&keys).unwrap());
        let mut trial = Self {
            good,
            forges,
            victim,
            chance: Chance::new(seed),
            fault,
            told: BTreeMap::new(),
        };
        for feed in Feed::ALL {
            trial.recover(feed).unwrap();
        }
        trial.works().unwrap();
        trial
    }

    /// Sends one, and looks what it has done.
    fn poison(&mut self, kind: Kind) -> Result<(), String> {
        let feed = Feed::ALL[self.chance.below(3)];
        let services: Vec<ServiceId> = self.good.services.iter().map(|one| one.id).collect();
        let poison = Kitchen {
            forge: &self.forges[feed as usize],
            items: &feed.items(&self.good),
            services: &services,
            node: self.good.node,
            chance: &mut self.chance,
        }
        .cook(kind);
        let before = (self.victim.applied(feed), self.victim.items(feed));
        let answer = self.victim.receive(feed, &poison.bytes);
        if self.fault == Some(Fault::HasNoBrake) {
            self.victim.release(feed);
        }
        let forge = &mut self.forges[feed as usize];
        let applied = self.victim.applied(feed);
        let wanted = poison.set.filter(|set| applied == Some(forge.commit(set)));
        let told = self.told.entry(kind).or_default();
        told.1 += 1;
        if let Some(set) = &wanted {
            told.0 += 1;
            forge.publish(set);
        } else if applied != before.0 || self.victim.items(feed) != before.1 {
            return Err(format!("{feed:?} has changed: {answer:?}, {applied:?}"));
        }
        self.works()?;
        if wanted.is_some() || self.chance.is(100) {
            self.recover(feed)?;
        }
        if self.chance.is(10) && self.victim.on_disk(feed) != self.victim.applied(feed) {
            return Err(format!("{feed:?} is another one on disk"));
        }
        Ok(())
    }

    /// Nothing is ended, and everything is served.
    fn works(&mut self) -> Result<(), String> {
        for action in self.victim.act() {
            if Victim::is_ended(&self.good, action) {
                return Err(format!("{action:?} is done to what shall run"));
            }
        }
        self.victim.serves(&self.good)
    }

    /// The right document comes, and is taken.
    fn recover(&mut self, feed: Feed) -> Result<(), String> {
        let forge = &mut self.forges[feed as usize];
        let items = feed.items(&self.good);
        let mut ids: Vec<_> = items.iter().map(|(id, _)| id.clone()).collect();
        ids.sort_unstable();
        let set = forge.whole(items, Some(DropCause::Plan));
        let lines = forge.lines(&set);
        forge.publish(&set);
        let answer = self.victim.receive(feed, lines.as_bytes());
        if self.victim.applied(feed) != Some(forge.commit(&set)) {
            return Err(format!("{feed:?} does not take what is right: {answer:?}"));
        }
        let has = self.victim.items(feed);
        let is_right = has
            .iter()
            .map(|(id, standing)| (id, *standing))
            .eq(ids.iter().map(|id| (id, Standing::Current)));
        if !is_right {
            return Err(format!(
                "{feed:?} has {} items that it should not",
                has.len()
            ));
        }
        self.victim.act();
        self.victim.confirm(&self.good);
        Ok(())
    }
}

/// So many of all kinds in turn; what went wrong first.
fn run(seed: u64, count: usize, fault: Option<Fault>) -> Result<Trial, String> {
    let mut trial = Trial::new(seed, fault);
    for (n, kind) in Kind::ALL.into_iter().cycle().take(count).enumerate() {
        trial
            .poison(kind)
            .map_err(|what| format!("seed {seed}, number {n}, {kind:?}: {what}"))?;
    }
    Ok(trial)
}

fn seed() -> u64 {
    let chosen = env::var("RAILHEAD_POISON_SEED").ok();
    chosen.and_then(|seed| seed.parse().ok()).unwrap_or(1)
}

fn is_full() -> bool {
    env::var("RAILHEAD_POISON").is_ok_and(|value| value == "full")
}

#[test]
fn no_feed_whatever_it_says_takes_the_last_good_state_away() {
    let count = if is_full() { 10_000 } else { 1_000 };
    let trial = run(seed(), count, None).unwrap_or_else(|what| panic!("{what}"));
    println!(
        "{count} poisoned feeds; applied, of how many: {:?}",
        trial.told
    );
    let kinds = Kind::ALL.into_iter();
    let signed: Vec<Kind> = kinds
        .skip_while(|kind| *kind != Kind::DeadEndpoints)
        .collect();
    assert_eq!(signed.len(), Kind::ALL.len().div_ceil(2), "half are signed");
    for kind in signed {
        assert!(
            trial.told[&kind].0 > 0,
            "{kind:?} never came as far as the node's work"
        );
    }
    for kind in [Kind::Forged, Kind::Older, Kind::Rewritten, Kind::Endless] {
        assert_eq!(trial.told[&kind].0, 0, "{kind:?}");
    }
}

#[test]
fn a_node_that_trusts_any_key_is_found() {
    let Err(what) = run(seed(), 200, Some(Fault::TrustsAnyKey)) else {
        panic!("nobody noticed");
    };
    assert!(what.contains("Forged"), "{what}");
}

#[test]
fn a_node_without_a_brake_is_found() {
    let Err(what) = run(seed(), 200, Some(Fault::HasNoBrake)) else {
        panic!("nobody noticed");
    };
    assert!(
        what.contains("Emptied") || what.contains("Forgotten"),
        "{what}"
    );
}
