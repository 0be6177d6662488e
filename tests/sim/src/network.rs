//! Who reaches whom, and how long it takes. Cuts are directed: one way, both ways, or of a whole side.

use std::collections::BTreeSet;

use crate::{clock::Millis, random::Random};

/// An end of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Peer {
    /// By number.
    Agent(usize),
    /// By number.
    Edge(usize),
    /// Of the control plane, by number.
    Replica(usize),
}

/// How bad the weather is.
#[derive(Debug, Clone, Copy)]
pub struct Weather {
    /// Longest usual delay of a message.
    pub delay_max: Millis,
    /// Requests or answers that get lost, per mille.
    pub lost: u32,
    /// Requests that arrive twice, per mille.
    pub duplicated: u32,
}

impl Weather {
    /// A good network.
    pub const FAIR: Self = Self {
        delay_max: 20,
        lost: 0,
        duplicated: 0,
    };
}

/// The network.
#[derive(Debug)]
pub struct Network {
    /// Now.
    pub weather: Weather,
    cuts: Vec<(u64, BTreeSet<(Peer, Peer)>)>,
    next_cut: u64,
}

impl Network {
    /// With every link open.
    #[must_use]
    pub const fn new(weather: Weather) -> Self {
        Self {
            weather,
            cuts: Vec::new(),
            next_cut: 0,
        }
    }

    /// Cuts links; the number mends them.
    pub fn cut(&mut self, links: BTreeSet<(Peer, Peer)>) -> u64 {
        self.next_cut += 1;
        self.cuts.push((self.next_cut, links));
        self.next_cut
    }

    /// Mends what was cut together.
    pub fn mend(&mut self, cut: u64) {
        self.cuts.retain(|(number, _)| *number != cut);
    }

    /// Mends everything.
    pub fn mend_all(&mut self) {
        self.cuts.clear();
    }

    /// Whether nothing is cut.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.cuts.is_empty()
    }

    /// Whether a message can go this way.
    #[must_use]
    pub fn is_open(&self, from: Peer, to: Peer) -> bool {
        !self.cuts.iter().any(|(_, cut)| cut.contains(&(from, to)))
    }

    /// Whether a connection can live.
    #[must_use]
    pub fn is_open_both_ways(&self, a: Peer, b: Peer) -> bool {
        self.is_open(a, b) && self.is_open(b, a)
    }

    /// How long one message takes: mostly little, sometimes much.
    pub fn delay(&self, random: &mut Random) -> Millis {
        let usual = random.between(1, self.weather.delay_max);
        if random.chance(20) { usual * 20 } else { usual }
    }

    /// Whether a request or an answer gets lost.
    pub fn loses(&self, random: &mut Random) -> bool {
        self.weather.lost > 0 && random.chance(self.weather.lost)
    }

    /// Whether a request arrives twice.
    pub fn duplicates(&self, random: &mut Random) -> bool {
        self.weather.duplicated > 0 && random.chance(self.weather.duplicated)
    }
}
