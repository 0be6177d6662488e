//! What an agent said of one endpoint, for how long that stands, and when the agent is asked again.
//!
//! A yes stands until nothing listens at the address any more. From then on somebody else may have got it, so it counts
//! only once it was said again after something listened there anew. An agent that does not answer leaves its last
//! answer standing (DESIGN §5, endpoints).

use std::{
    sync::atomic::{AtomicBool, AtomicU8, Ordering},
    time::{Duration, Instant},
};

use super::{turn::Turn, verdict::Confirmed};

/// The last answer, and the next question. Atomics, so that whoever reads it waits for nobody.
#[derive(Debug)]
pub struct Answer {
    /// [`Confirmed`].
    last: AtomicU8,
    ask: AtomicBool,
    asking: Turn,
    /// Something listened there when the question began, and has ever since.
    asked_while_up: AtomicBool,
}

impl Default for Answer {
    fn default() -> Self {
        Self {
            last: AtomicU8::new(Confirmed::Unknown as u8),
            ask: AtomicBool::new(true),
            asking: Turn::default(),
            asked_while_up: AtomicBool::new(false),
        }
    }
}

impl Answer {
    /// As it stands.
    pub fn last(&self) -> Confirmed {
        Confirmed::of(self.last.load(Ordering::Relaxed))
    }

    /// Whether the agent shall be asked: at first, when asked to, while it says no, and when something listens again.
    pub fn is_wanted(&self, is_up: bool) -> bool {
        let wanted = match self.last() {
            Confirmed::Yes => false,
            Confirmed::Doubted => is_up,
            Confirmed::Unknown | Confirmed::No => true,
        };
        wanted || self.ask.load(Ordering::Relaxed)
    }

    /// True when it is wanted, the agent is not being asked and was not within `interval`; the caller asks now.
    pub fn take_question(&self, is_up: bool, interval: Duration, now: Instant) -> bool {
        let taken = self.is_wanted(is_up) && self.asking.take(interval, now);
        if taken {
            self.asked_while_up.store(is_up, Ordering::Relaxed);
        }
        taken
    }

    /// A question has ended, with or without an answer.
    pub fn question_ended(&self) {
        self.asking.ended();
    }

    /// Asks again; until the agent answers, its last answer stands.
    pub fn ask_again(&self) {
        self.ask.store(true, Ordering::Relaxed);
    }

    /// An answer from before this edge's start: it stands until the agent answers again.
    pub fn remember(&self) {
        self.last.store(Confirmed::Yes as u8, Ordering::Relaxed);
    }

    /// The agent answered. True when that changed something.
    pub fn came(&self, holds: bool) -> bool {
        self.ask.store(false, Ordering::Relaxed);
        if holds && self.is_too_old() {
            return false;
        }
        let answer = if holds { Confirmed::Yes } else { Confirmed::No } as u8;
        self.last.swap(answer, Ordering::Relaxed) != answer
    }

    /// The agent did not answer: what it said last stands. True when that changed something.
    pub fn stayed_away(&self) -> bool {
        !self.is_too_old() && self.turn(Confirmed::Doubted, Confirmed::Yes)
    }

    /// The question began before something listened again.
    fn is_too_old(&self) -> bool {
        self.last() == Confirmed::Doubted && !self.asked_while_up.load(Ordering::Relaxed)
    }

    /// Nothing listens there.
    pub fn doubt(&self) {
        self.asked_while_up.store(false, Ordering::Relaxed);
        if self.turn(Confirmed::Yes, Confirmed::Doubted) {
            self.ask_again();
        }
    }

    /// Something listens again: the next question need not rest.
    pub fn listens_again(&self) {
        if self.last() == Confirmed::Doubted {
            self.asking.rested();
        }
    }

    fn turn(&self, from: Confirmed, to: Confirmed) -> bool {
        let (from, to) = (from as u8, to as u8);
        let turned = self
            .last
            .compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed);
        turned.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGAIN: Duration = Duration::from_millis(500);

    /// Yes was said, and then nothing listened.
    fn doubted() -> Answer {
        let answer = Answer::default();
        answer.came(true);
        answer.doubt();
        assert_eq!(answer.last(), Confirmed::Doubted);
        answer
    }

    #[test]
    fn a_yes_counts_again_only_when_it_was_asked_for_after_something_listened_again() {
        let (answer, now) = (doubted(), Instant::now());
        assert!(answer.take_question(false, AGAIN, now));
        answer.listens_again();
        assert!(!answer.came(true), "asked while nothing listened");
        answer.question_ended();
        assert_eq!(answer.last(), Confirmed::Doubted);

        assert!(!answer.is_wanted(false), "nobody would use it");
        assert!(answer.take_question(true, AGAIN, now), "at once");
        assert!(answer.came(true));
        assert_eq!(answer.last(), Confirmed::Yes);
    }

    #[test]
    fn a_yes_that_was_on_its_way_when_nothing_listened_any_more_does_not_count() {
        let (answer, now) = (Answer::default(), Instant::now());
        answer.came(true);
        answer.ask_again();
        assert!(answer.take_question(true, AGAIN, now));
        answer.doubt();
        assert!(!answer.came(true));
        assert_eq!(answer.last(), Confirmed::Doubted);
    }

    #[test]
    fn a_no_counts_always() {
        for is_up in [false, true] {
            let answer = doubted();
            assert!(answer.take_question(is_up, AGAIN, Instant::now()));
            assert!(answer.came(false));
            assert_eq!(answer.last(), Confirmed::No);
            answer.doubt();
            assert_eq!(answer.last(), Confirmed::No);
        }
    }

    #[test]
    fn an_agent_that_is_away_leaves_what_it_said_standing_once_something_listens_again() {
        let (answer, now) = (doubted(), Instant::now());
        assert!(answer.take_question(false, AGAIN, now));
        assert!(!answer.stayed_away());
        answer.question_ended();
        answer.listens_again();
        assert!(answer.take_question(true, AGAIN, now));
        assert!(answer.stayed_away());
        assert_eq!(answer.last(), Confirmed::Yes);
        assert!(answer.is_wanted(true), "it still owes an answer");

        let unknown = Answer::default();
        assert!(unknown.take_question(true, AGAIN, now));
        assert!(!unknown.stayed_away());
        assert_eq!(unknown.last(), Confirmed::Unknown);
    }
}
