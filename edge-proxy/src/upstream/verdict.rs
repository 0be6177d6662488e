//! What agents, probes and requests say about an endpoint, and what follows from it together. Questions and probes take
//! their time: what began before somebody was refused there says nothing about who listens there after it.

/// What the node's agent said about "this instance holds that address".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Confirmed {
    /// Not asked, or nobody answered yet.
    Unknown,
    /// Yes.
    Yes,
    /// Yes, but nothing has listened there since: it must be said again.
    Doubted,
    /// No.
    No,
}

/// What our own probes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Health {
    /// Not probed yet.
    Unknown,
    /// The last probe passed, or fewer than three in a row failed since.
    Up,
    /// Three in a row failed, or nothing listens.
    Down,
}

/// How an attempt to use an endpoint failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// No connection: nothing listens there now.
    Connect,
    /// No connection within a probe's time: perhaps nobody is there.
    Silence,
    /// The connection broke, or no answer came in time.
    Answer,
    /// An answer came, of a kind that the service counts as a failure.
    Status,
}

/// All that is known of one endpoint. It is a value: an endpoint changes from one to the next as a whole, so that an
/// answer and a refusal at the same moment can't both be half of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// By its agent.
    pub confirmed: Confirmed,
    /// By our probes.
    pub health: Health,
    /// Its agent has answered nothing that counts since this edge's start, or since the last refusal.
    owed: bool,
    /// Nothing has listened there since the last refusal.
    refused: bool,
    /// So far.
    refusals: u32,
}

impl Default for Verdict {
    fn default() -> Self {
        Self {
            confirmed: Confirmed::Unknown,
            health: Health::Unknown,
            owed: true,
            refused: false,
            refusals: 0,
        }
    }
}

impl Verdict {
    /// Whether a request may go there.
    #[must_use]
    pub fn is_usable(self) -> bool {
        self.confirmed == Confirmed::Yes && self.health == Health::Up
    }

    /// Whether its agent shall be asked. Also while nothing listens: a no is known then before somebody else can.
    #[must_use]
    pub fn wants_answer(self) -> bool {
        self.owed || self.confirmed != Confirmed::Yes
    }

    /// Nothing listens there: somebody else may get the address, so a yes must be said again.
    #[must_use]
    pub fn refused(self) -> Self {
        Self {
            confirmed: match self.confirmed {
                Confirmed::Yes => Confirmed::Doubted,
                other => other,
            },
            health: Health::Down,
            owed: true,
            refused: true,
            refusals: self.refusals.wrapping_add(1),
        }
    }

    /// A probe passed that began at `begun`.
    #[must_use]
    pub fn passed(self, begun: Self) -> Self {
        if self.refusals != begun.refusals {
            return self;
        }
        Self {
            health: Health::Up,
            refused: false,
            ..self
        }
    }

    /// Too many probes in a row failed, although something takes connections.
    #[must_use]
    pub fn down(self) -> Self {
        Self {
            health: Health::Down,
            ..self
        }
    }

    /// The agent answered what was asked at `asked`. A no counts always.
    #[must_use]
    pub fn answered(self, asked: Self, holds: bool) -> Self {
        let counts = !holds || self.still_listens_as(asked);
        Self {
            confirmed: match (holds, counts) {
                (false, _) => Confirmed::No,
                (true, true) => Confirmed::Yes,
                (true, false) => Confirmed::Doubted,
            },
            owed: self.owed && !counts,
            ..self
        }
    }

    /// The agent did not answer: what it said last stands, once something listens again.
    #[must_use]
    pub fn unanswered(self, asked: Self) -> Self {
        if self.confirmed != Confirmed::Doubted || !self.still_listens_as(asked) {
            return self;
        }
        Self {
            confirmed: Confirmed::Yes,
            ..self
        }
    }

    /// Its agent's yes from before this edge's start: it stands until the agent answers.
    #[must_use]
    pub fn remembered(self) -> Self {
        Self {
            confirmed: Confirmed::Yes,
            ..self
        }
    }

    /// Something listened when the question began, and nobody was refused since.
    fn still_listens_as(self, asked: Self) -> bool {
        !asked.refused && asked.refusals == self.refusals
    }

    /// In an atomic's form.
    pub(super) fn word(self) -> u64 {
        (u64::from(self.refusals) << 32)
            | (u64::from(self.refused) << 17)
            | (u64::from(self.owed) << 16)
            | ((self.health as u64) << 8)
            | (self.confirmed as u64)
    }

    /// Back from it.
    pub(super) fn of(word: u64) -> Self {
        Self {
            confirmed: match word & 0xff {
                1 => Confirmed::Yes,
                2 => Confirmed::Doubted,
                3 => Confirmed::No,
                _ => Confirmed::Unknown,
            },
            health: match (word >> 8) & 0xff {
                1 => Health::Up,
                2 => Health::Down,
                _ => Health::Unknown,
            },
            owed: (word >> 16) & 1 == 1,
            refused: (word >> 17) & 1 == 1,
            refusals: (word >> 32) as u32,
        }
    }
}

#[cfg(test)]
mod tests;
