//! Leases: how edges count together without waiting for each other. Redis holds the bucket of a key; an edge takes some of
//! it ahead, as much as it is likely to need until it has asked again, and spends that by itself. Until it knows what
//! there is, and while it does not, it spends on credit what its own share allows, and tells Redis of it with the next
//! ask. Pure: time comes from outside, in microseconds of a clock that never goes back.

/// A lease is for as much demand as comes in this time at least, else in two round trips.
const WORTH: u64 = 50_000;
/// An ask without an answer is given up after this.
const PATIENCE: u64 = 1_000_000;
/// Where nothing is left, Redis is asked again no sooner and no later.
const CLOSED: std::ops::RangeInclusive<u64> = 5_000..=1_000_000;

/// What an edge knows of a key.
#[derive(Debug, Default)]
pub struct Lease {
    /// What it may spend, until then.
    tokens: u32,
    void_at: u64,
    /// Of the last grant.
    granted: u32,
    /// What it took and did not spend in time: it goes back with the next ask.
    unspent: u32,
    /// What it spent on credit: it is told with the next ask.
    owed: u32,
    /// Nothing is left before, unless others give back.
    free_at: u64,
    /// Redis is not asked before.
    open_at: u64,
    /// Requests since the last ask.
    seen: u32,
    seen_since: u64,
    /// An ask is under way.
    asked_at: Option<u64>,
    round_trip: u64,
    /// Of the whole limit, when Redis last said so.
    remaining: u32,
}

/// What a lease says to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It may pass; so many more might.
    Token {
        /// Of the whole limit.
        remaining: u32,
    },
    /// Nothing is left.
    Closed {
        /// Until there may be, in microseconds.
        wait: u64,
    },
    /// Nobody knows: it is for the edge's own share to say.
    Unknown,
}

/// What Redis is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// Takes so many out of the bucket (or puts them back), before anything is granted.
    pub spent: i64,
    /// Would like so many.
    pub want: u32,
}

/// What it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// So many may be spent.
    pub tokens: u32,
    /// Of none: until there is one, in microseconds.
    pub wait: u64,
    /// Left in the bucket.
    pub remaining: u32,
}

impl Lease {
    /// One more request.
    pub fn take(&mut self, now: u64) -> Taken {
        if self.tokens > 0 && now >= self.void_at {
            self.unspent = self.unspent.saturating_add(self.tokens);
            self.tokens = 0;
        }
        self.seen = self.seen.saturating_add(1);
        if let Some(left) = self.tokens.checked_sub(1) {
            self.tokens = left;
            let remaining = self.remaining.saturating_add(left);
            return Taken::Token { remaining };
        }
        match self.free_at.checked_sub(now) {
            Some(wait) if wait > 0 => Taken::Closed { wait },
            _ => Taken::Unknown,
        }
    }

    /// The request passed on credit.
    pub fn owe(&mut self) {
        self.owed = self.owed.saturating_add(1);
    }

    /// What to ask Redis now, for a key of this limit; none while there is enough, or an answer is on its way.
    pub fn ask(&mut self, now: u64, limit: u32) -> Option<Ask> {
        let waits = self
            .asked_at
            .is_some_and(|asked| now < asked.saturating_add(PATIENCE));
        if waits || now < self.open_at || self.tokens > self.granted / 2 {
            return None;
        }
        let ask = Ask {
            spent: i64::from(self.owed) - i64::from(self.unspent),
            want: self.want(now).clamp(1, limit),
        };
        (self.owed, self.unspent) = (0, 0);
        (self.seen, self.seen_since) = (0, now);
        self.asked_at = Some(now);
        Some(ask)
    }

    /// As many as are likely to come, as they came since the last ask.
    fn want(&self, now: u64) -> u32 {
        let horizon = WORTH.max(2 * self.round_trip);
        let elapsed = now.saturating_sub(self.seen_since).max(horizon);
        let likely = u64::from(self.seen)
            .saturating_mul(horizon)
            .div_ceil(elapsed);
        u32::try_from(likely).unwrap_or(u32::MAX)
    }

    /// Redis has answered. What is not spent within the limit's window goes back.
    pub fn granted(&mut self, now: u64, window: u64, grant: Grant) {
        if let Some(asked) = self.asked_at.take() {
            let took = now.saturating_sub(asked);
            self.round_trip = match self.round_trip {
                0 => took,
                before => (3 * before + took) / 4,
            };
        }
        self.tokens = self.tokens.saturating_add(grant.tokens);
        self.granted = grant.tokens;
        self.void_at = now.saturating_add(window);
        self.remaining = grant.remaining;
        (self.open_at, self.free_at) = match grant.tokens {
            0 => {
                let asked_again = grant.wait.clamp(*CLOSED.start(), *CLOSED.end());
                let free = grant.wait.max(*CLOSED.start());
                (now.saturating_add(asked_again), now.saturating_add(free))
            }
            _ => (0, 0),
        };
    }

    /// No answer will come: what was told with the ask is told again.
    pub fn lost(&mut self, ask: Ask) {
        self.asked_at = None;
        let amount = u32::try_from(ask.spent.unsigned_abs()).unwrap_or(u32::MAX);
        match ask.spent {
            1.. => self.owed = self.owed.saturating_add(amount),
            _ => self.unspent = self.unspent.saturating_add(amount),
        }
    }
}

#[cfg(test)]
mod tests;
