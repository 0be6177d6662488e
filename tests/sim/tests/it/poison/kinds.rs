//! What is sent: each kind made anew from chance, and what may come of it.

use domain::{
    generation::{Epoch, Generation, Position},
    id::ServiceId,
};
use serde_json::{Value, json};
use sim::random::Random;

use super::{
    Feed,
    forge::{Forge, Items, Set},
    good::{self, Good},
};

/// Kinds of poison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    // What no key of ours has signed, or not so.
    Fuzzed,
    Blank,
    Truncated,
    Endless,
    Forged,
    Inconsistent,
    OfAnotherFeed,
    OutOfOrder,
    Older,
    Rewritten,
    // Well-formed, digested, signed, and meant badly.
    DeadEndpoints,
    Emptied,
    EmptiedByDeletes,
    Forgotten,
    Absurd,
    Swapped,
    Crowded,
    Oversized,
    Junk,
    UnlikelyPosition,
}

impl Kind {
    /// All of them; the second half is signed.
    pub const ALL: [Self; 20] = [
        Self::Fuzzed,
        Self::Blank,
        Self::Truncated,
        Self::Endless,
        Self::Forged,
        Self::Inconsistent,
        Self::OfAnotherFeed,
        Self::OutOfOrder,
        Self::Older,
        Self::Rewritten,
        Self::DeadEndpoints,
        Self::Emptied,
        Self::EmptiedByDeletes,
        Self::Forgotten,
        Self::Absurd,
        Self::Swapped,
        Self::Crowded,
        Self::Oversized,
        Self::Junk,
        Self::UnlikelyPosition,
    ];
}

/// Bytes to send, and the one change set that may be applied by them.
pub struct Poison {
    pub bytes: Vec<u8>,
    pub set: Option<Set>,
}

/// Makes poison.
pub struct Kitchen<'a> {
    pub good: &'a Good,
    pub forge: &'a Forge,
    pub feed: Feed,
    pub random: &'a mut Random,
}

impl Kitchen<'_> {
    pub fn cook(&mut self, kind: Kind) -> Poison {
        match kind {
            Kind::Fuzzed => self.fuzzed(),
            Kind::Blank => nothing(self.blank()),
            Kind::Truncated => nothing(self.truncated()),
            Kind::Endless => nothing(vec![b'x'; 2 << 20]),
            Kind::Forged => nothing(self.forge.forged(&self.change()).into_bytes()),
            Kind::Inconsistent => {
                let digest = self.random.chance(500);
                nothing(self.forge.inconsistent(&self.change(), digest).into_bytes())
            }
            Kind::OfAnotherFeed => nothing(self.forge.of_another_feed(&self.change()).into_bytes()),
            Kind::OutOfOrder => nothing(self.out_of_order()),
            Kind::Older => self.at(|position| Position {
                generation: Generation(position.generation.0 - 1),
                ..position
            }),
            Kind::Rewritten => self.at(|position| position),
            Kind::UnlikelyPosition => self.unlikely(),
            signed => self.signed(signed),
        }
    }

    fn signed(&mut self, kind: Kind) -> Poison {
        let items = self.feed.items(self.good);
        let all: Vec<String> = items.iter().map(|(id, _)| id.clone()).collect();
        let set = match kind {
            Kind::DeadEndpoints => self.forge.difference(self.dead(), &[]),
            Kind::Emptied => self.forge.whole(Items::new(), None),
            Kind::EmptiedByDeletes => self.forge.difference(Items::new(), &all),
            Kind::Forgotten => {
                let mut some = items;
                some.truncate(self.random.below(some.len() - 3));
                self.forge.whole(some, None)
            }
            Kind::Swapped => self.forge.difference(self.swapped(), &[]),
            Kind::Crowded => self.forge.difference(self.crowded(), &[]),
            Kind::Oversized => self.forge.difference(self.oversized(), &[]),
            Kind::Junk => self.forge.difference(self.junk(), &[]),
            _ => self.forge.difference(self.absurd(), &[]),
        };
        signed(self.forge, set)
    }

    /// A change that would be fine: something new.
    fn change(&self) -> Set {
        let (id, item) = good::service_item(ServiceId::new(), Vec::new());
        self.forge.difference(vec![(id, item)], &[])
    }

    /// Bytes of a right change set that are other ones now. What is no part of the digest (a cause, a
    /// gap) may still let it through, as the very document that was signed.
    fn fuzzed(&mut self) -> Poison {
        let set = self.change();
        let mut bytes = self.forge.lines(&set).into_bytes();
        for _ in 0..self.random.between(1, 8) {
            let at = self.random.below(bytes.len());
            bytes[at] = u8::try_from(self.random.below(256)).unwrap();
        }
        Poison {
            bytes,
            set: Some(set),
        }
    }

    fn blank(&mut self) -> Vec<u8> {
        let blanks = [
            "",
            "\n",
            "\n\n\n",
            " \t\n",
            "null\n",
            "{}\n",
            "[]\n",
            "0\n",
            "\"\"\n",
            "\0\0\0\n",
            "\u{feff}\n",
            "{\"frame\":null}\n",
        ];
        let blank = self.random.pick(&blanks).copied().unwrap_or_default();
        blank.repeat(self.random.below(3) + 1).into_bytes()
    }

    fn truncated(&mut self) -> Vec<u8> {
        let mut bytes = self.forge.lines(&self.change()).into_bytes();
        // Without the last two: the end of a line may be missing and all have come.
        bytes.truncate(self.random.below(bytes.len() - 2));
        bytes
    }

    fn out_of_order(&mut self) -> Vec<u8> {
        let right = self.forge.lines(&self.change());
        let mut lines: Vec<&str> = right.split_inclusive('\n').collect();
        let (from, to) = (
            self.random.below(lines.len()),
            self.random.below(lines.len()),
        );
        if from == to {
            lines.remove(from);
        } else {
            lines.swap(from, to);
        }
        lines.concat().into_bytes()
    }

    /// Signed content of the position that is applied, or of one before it.
    fn at(&self, position: impl Fn(Position) -> Position) -> Poison {
        let mut set = self.change();
        set.position = position(self.forge.position);
        nothing(self.forge.lines(&set).into_bytes())
    }

    /// A new epoch that knows nothing.
    fn unlikely(&mut self) -> Poison {
        let mut set = self.forge.whole(Items::new(), None);
        let epoch = self.forge.position.epoch.0 + 1;
        set.position = Position {
            epoch: Epoch(epoch + i64::try_from(self.random.below(1_000)).unwrap()),
            generation: Generation(i64::try_from(self.random.below(100)).unwrap()),
        };
        signed(self.forge, set)
    }

    /// Every service is where nothing answers; an agent gets the same for what it never ran.
    fn dead(&mut self) -> Items {
        let dead = |port: u16| good::endpoint(self.good.node, ([192, 0, 2, 1], port).into());
        let services = self.good.services.iter();
        services
            .map(|service| good::service_item(service.id, (1..=20).map(dead).collect()))
            .collect()
    }

    /// Two items, each under the other's id.
    fn swapped(&mut self) -> Items {
        let items = self.feed.items(self.good);
        let [(a, first), (b, second), ..] = &items[..] else {
            return Items::new();
        };
        vec![(a.clone(), second.clone()), (b.clone(), first.clone())]
    }

    /// More endpoints than any service can have.
    fn crowded(&mut self) -> Items {
        let count = self.random.between(1_001, 5_000);
        let one = good::endpoint(self.good.node, ([192, 0, 2, 1], 1).into());
        let all = vec![one; usize::try_from(count).unwrap()];
        let service = self.random.pick(&self.good.services);
        let service = service.map_or_else(ServiceId::new, |service| service.id);
        vec![good::service_item(service, all)]
    }

    /// A thousand times what there is.
    fn oversized(&mut self) -> Items {
        let times = if self.random.chance(100) { 1_000 } else { 100 };
        let new = |_| good::service_item(ServiceId::new(), Vec::new());
        (0..3 * times).map(new).collect()
    }

    /// JSON that is nothing that this feed can have, also under the ids of what it has.
    fn junk(&mut self) -> Items {
        let junk = [
            Value::Null,
            json!(true),
            json!([]),
            json!({}),
            json!("x".repeat(10_000)),
            json!({"kind": "service"}),
            json!({"kind": "of the future", "endpoints": 7}),
            nested(100),
        ];
        let mut items = self.feed.items(self.good);
        for (_, item) in &mut items {
            *item = self.random.pick(&junk).cloned().unwrap_or_default();
        }
        items
    }

    /// Right items, in which one thing of each is out of all proportion.
    fn absurd(&mut self) -> Items {
        let mut items = self.feed.items(self.good);
        for (_, item) in &mut items {
            let leaves = count_leaves(item);
            let mut nth = self.random.below(leaves.max(1));
            let absurd = absurdity(self.random);
            replace_leaf(item, &mut nth, &absurd);
        }
        items
    }
}

fn nothing(bytes: Vec<u8>) -> Poison {
    Poison { bytes, set: None }
}

fn signed(forge: &Forge, set: Set) -> Poison {
    Poison {
        bytes: forge.lines(&set).into_bytes(),
        set: Some(set),
    }
}

fn nested(depth: usize) -> Value {
    (0..depth).fold(Value::Null, |inner, _| json!([inner]))
}

/// None of these is a host name, an id or an address: what they replace can only be refused, or is a
/// number that is taken as it is.
fn absurdity(random: &mut Random) -> Value {
    let all = [
        Value::Null,
        json!(0),
        json!(-1),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(1e308),
        json!(""),
        json!("\u{0}\u{1b}[2J"),
        json!("../../etc/passwd"),
        json!("; reboot"),
        json!("99999999999999999999d"),
        json!("18446744073709551615Gi"),
        json!("x y".repeat(5_000)),
        json!([]),
        json!({}),
    ];
    random.pick(&all).cloned().unwrap_or_default()
}

fn count_leaves(value: &Value) -> usize {
    match value {
        Value::Array(all) if !all.is_empty() => all.iter().map(count_leaves).sum(),
        Value::Object(all) if !all.is_empty() => all.values().map(count_leaves).sum(),
        _ => 1,
    }
}

fn replace_leaf(value: &mut Value, nth: &mut usize, with: &Value) {
    match value {
        Value::Array(all) if !all.is_empty() => {
            all.iter_mut().for_each(|v| replace_leaf(v, nth, with));
        }
        Value::Object(all) if !all.is_empty() => {
            all.values_mut().for_each(|v| replace_leaf(v, nth, with));
        }
        leaf => {
            if *nth == 0 {
                *leaf = with.clone();
            }
            *nth = nth.wrapping_sub(1);
        }
    }
}
