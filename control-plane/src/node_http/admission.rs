//! After a restart every agent opens its feed again. Beyond a small number at once each is told its own turn, so
//! that the replica spends a limited part of itself on them and none is turned away twice (adr 0031).

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use domain::id::NodeId;
use tokio::time::Instant;

/// Between two turns: a thousand agents are back within 25 s.
const PACE: Duration = Duration::from_millis(25);
/// So many may come at once when nobody has come for a while.
const BURST: u32 = 20;
/// A turn that nobody took is forgotten after this long.
const KEPT: Duration = Duration::from_secs(60);

/// Turns of agents that open their feeds.
#[derive(Debug)]
pub struct Admission(Mutex<Turns>);

#[derive(Debug)]
struct Turns {
    last: Instant,
    booked: HashMap<NodeId, Instant>,
}

impl Default for Admission {
    fn default() -> Self {
        let last = Instant::now();
        let booked = HashMap::new();
        Self(Mutex::new(Turns { last, booked }))
    }
}

impl Admission {
    /// Lets an agent in.
    ///
    /// # Errors
    /// The time until its turn.
    pub fn admit(&self, node: NodeId) -> Result<(), Duration> {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        turns.admit(node, Instant::now())
    }
}

impl Turns {
    fn admit(&mut self, node: NodeId, now: Instant) -> Result<(), Duration> {
        let turn = match self.booked.remove(&node) {
            Some(turn) => turn,
            None => self.next(now),
        };
        if turn <= now {
            return Ok(());
        }
        self.booked.insert(node, turn);
        Err(turn - now)
    }

    fn next(&mut self, now: Instant) -> Instant {
        self.booked.retain(|_, turn| *turn + KEPT > now);
        let idle = now.checked_sub(PACE * BURST).unwrap_or(now);
        self.last = self.last.max(idle) + PACE;
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn many_at_once_get_turns_one_after_the_other_and_keep_them() {
        let admission = Admission::default();
        tokio::time::advance(Duration::from_secs(60)).await;
        let nodes: Vec<_> = (0..1_000).map(|_| NodeId::new()).collect();
        let waits: Vec<_> = nodes.iter().map(|node| admission.admit(*node)).collect();
        let at_once = waits.iter().filter(|wait| wait.is_ok()).count();
        assert_eq!(at_once, 20);
        let last = waits[999].unwrap_err();
        assert_eq!(last, PACE * 980);
        // Who comes too early keeps the turn.
        assert_eq!(admission.admit(nodes[999]), Err(last));
        tokio::time::advance(last).await;
        assert_eq!(admission.admit(nodes[999]), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_nobody_took_is_forgotten() {
        let admission = Admission::default();
        for _ in 0..1_000 {
            let _ = admission.admit(NodeId::new());
        }
        tokio::time::advance(Duration::from_secs(120)).await;
        assert_eq!(admission.admit(NodeId::new()), Ok(()));
        assert!(admission.0.lock().unwrap().booked.is_empty());
    }
}
