//! What is sent: each kind made anew from chance, and what may come of it.

use domain::{
    generation::{Epoch, Generation, Position},
    id::{NodeId, ServiceId},
};
use serde_json::{Value, json};

use super::{
    Chance,
    absurd::{absurdity, count_leaves, nested, no_path, replace_leaf},
    endpoint,
    forge::{Forge, Items, Set},
    service_item,
};

/// Kinds of poison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    // What no key of ours has signed, or not so.
    /// A right change with some bytes replaced.
    Fuzzed,
    /// Nothing, in several ways.
    Blank,
    /// The beginning of a right change.
    Truncated,
    /// A line that goes on and on.
    Endless,
    /// Signed by a key that nobody trusts.
    Forged,
    /// Signed, with a digest or a count that is not what it leads to.
    Inconsistent,
    /// Signed for another feed.
    OfAnotherFeed,
    /// A right change whose lines are mixed up, or one of them is missing.
    OutOfOrder,
    /// Of a generation before the last one.
    Older,
    /// Of the last generation, with other content.
    Rewritten,
    // Well-formed, digested, signed, and meant badly.
    /// Every service is where nothing answers.
    DeadEndpoints,
    /// The whole document is empty.
    Emptied,
    /// All goes, one by one and without a cause.
    EmptiedByDeletes,
    /// The whole document lacks some.
    Forgotten,
    /// One thing of each item is out of all proportion.
    Absurd,
    /// Two items, each under the other's id.
    Swapped,
    /// Health is to be asked at what is no path.
    Misled,
    /// More endpoints than any service can have.
    Crowded,
    /// A thousand times what there is.
    Oversized,
    /// Items that are none.
    Junk,
    /// An empty document far in the future.
    UnlikelyPosition,
}

impl Kind {
    /// All of them; the second half is signed.
    pub const ALL: [Self; 21] = [
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
        Self::Misled,
        Self::Crowded,
        Self::Oversized,
        Self::Junk,
        Self::UnlikelyPosition,
    ];

    /// Whoever reads it may wait for the rest of it; the others are taken or refused.
    #[must_use]
    pub const fn may_lack_its_end(self) -> bool {
        matches!(
            self,
            Self::Fuzzed | Self::Blank | Self::Truncated | Self::OutOfOrder
        )
    }
}

/// What is sent, and what may come of it.
#[derive(Debug)]
pub struct Poison {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// The one change set that may be applied by them.
    pub set: Option<Set>,
}

/// Makes poison for one feed.
#[derive(Debug)]
pub struct Kitchen<'a> {
    /// The feed.
    pub forge: &'a Forge,
    /// What it says when nobody means harm: four items or more.
    pub items: &'a Items,
    /// Whose routes can be spoiled.
    pub services: &'a [ServiceId],
    /// Where what does not exist is said to run.
    pub node: NodeId,
    /// What it is made from.
    pub chance: &'a mut Chance,
}

impl Kitchen<'_> {
    /// Makes some of this kind.
    ///
    /// # Panics
    /// When there are too few items to leave some out.
    pub fn cook(&mut self, kind: Kind) -> Poison {
        match kind {
            Kind::Fuzzed => self.fuzzed(),
            Kind::Blank => nothing(self.blank()),
            Kind::Truncated => nothing(self.truncated()),
            Kind::Endless => nothing(vec![b'x'; 2 << 20]),
            Kind::Forged => nothing(self.forge.forged(&self.change()).into_bytes()),
            Kind::Inconsistent => {
                let digest = self.chance.is(500);
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
        let all: Vec<String> = self.items.iter().map(|(id, _)| id.clone()).collect();
        let set = match kind {
            Kind::DeadEndpoints => self.forge.difference(self.dead(), &[]),
            Kind::Emptied => self.forge.whole(Items::new(), None),
            Kind::EmptiedByDeletes => self.forge.difference(Items::new(), &all),
            Kind::Forgotten => {
                let mut some = self.items.clone();
                some.truncate(self.chance.below(some.len() - 3));
                self.forge.whole(some, None)
            }
            Kind::Swapped => self.forge.difference(self.swapped(), &[]),
            Kind::Misled => self.forge.difference(self.misled(), &[]),
            Kind::Crowded => self.forge.difference(self.crowded(), &[]),
            Kind::Oversized => self.forge.difference(self.oversized(), &[]),
            Kind::Junk => self.forge.difference(self.junk(), &[]),
            _ => self.forge.difference(self.absurd(), &[]),
        };
        signed(self.forge, set)
    }

    /// A change that would be fine: something new.
    fn change(&self) -> Set {
        let item = service_item(ServiceId::new(), Vec::new());
        self.forge.difference(vec![item], &[])
    }

    /// Bytes of a right change set that are other ones now. What is no part of the digest (a cause, a
    /// gap) may still let it through, as the very document that was signed.
    fn fuzzed(&mut self) -> Poison {
        let set = self.change();
        let mut bytes = self.forge.lines(&set).into_bytes();
        for _ in 0..self.chance.between(1, 8) {
            let at = self.chance.below(bytes.len());
            bytes[at] = u8::try_from(self.chance.below(256)).unwrap_or_default();
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
        let blank = self.chance.pick(&blanks).copied().unwrap_or_default();
        blank.repeat(self.chance.below(3) + 1).into_bytes()
    }

    fn truncated(&mut self) -> Vec<u8> {
        let mut bytes = self.forge.lines(&self.change()).into_bytes();
        // Without the last two: the end of a line may be missing and all have come.
        bytes.truncate(self.chance.below(bytes.len() - 2));
        bytes
    }

    fn out_of_order(&mut self) -> Vec<u8> {
        let right = self.forge.lines(&self.change());
        let mut lines: Vec<&str> = right.split_inclusive('\n').collect();
        let (from, to) = (
            self.chance.below(lines.len()),
            self.chance.below(lines.len()),
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
            epoch: Epoch(epoch + self.below(1_000)),
            generation: Generation(self.below(100)),
        };
        signed(self.forge, set)
    }

    fn below(&mut self, count: u64) -> i64 {
        let number = self.chance.between(0, count - 1);
        i64::try_from(number).unwrap_or_default()
    }

    /// Every service is where nothing answers; an agent gets the same for what it never ran.
    fn dead(&mut self) -> Items {
        let dead = |port: u16| endpoint(self.node, ([192, 0, 2, 1], port).into());
        let services = self.services.iter();
        services
            .map(|service| service_item(*service, (1..=20).map(dead).collect()))
            .collect()
    }

    /// Two items, each under the other's id.
    fn swapped(&mut self) -> Items {
        let [(a, first), (b, second), ..] = &self.items[..] else {
            return Items::new();
        };
        vec![(a.clone(), second.clone()), (b.clone(), first.clone())]
    }

    /// Every service as it is, but for where its health is asked; who has none gets one that never ran.
    fn misled(&mut self) -> Items {
        let mut items = self.items.clone();
        items.retain(|(_, item)| item["kind"] == "service");
        if items.is_empty() {
            items = self.dead();
        }
        for (_, item) in &mut items {
            item["health_path"] = no_path(self.chance).into();
        }
        items
    }

    /// More endpoints than any service can have.
    fn crowded(&mut self) -> Items {
        let count = self.chance.between(1_001, 5_000);
        let one = endpoint(self.node, ([192, 0, 2, 1], 1).into());
        let all = vec![one; usize::try_from(count).unwrap_or(usize::MAX)];
        let service = self.chance.pick(self.services).copied();
        vec![service_item(service.unwrap_or_else(ServiceId::new), all)]
    }

    /// A thousand times what there is.
    fn oversized(&mut self) -> Items {
        let times = if self.chance.is(100) { 1_000 } else { 100 };
        let new = |_| service_item(ServiceId::new(), Vec::new());
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
        let mut items = self.items.clone();
        for (_, item) in &mut items {
            *item = self.chance.pick(&junk).cloned().unwrap_or_default();
        }
        items
    }

    /// Right items, in which one thing of each is out of all proportion.
    fn absurd(&mut self) -> Items {
        let mut items = self.items.clone();
        for (_, item) in &mut items {
            let leaves = count_leaves(item);
            let mut nth = self.chance.below(leaves.max(1));
            let absurd = absurdity(self.chance);
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
