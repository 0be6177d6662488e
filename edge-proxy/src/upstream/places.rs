//! How many questions run at the same time, in all and to one agent: agents that are silent leave places for the
//! others, however many endpoints they have.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use domain::id::NodeId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

const IN_ALL: usize = 256;
const TO_ONE_AGENT: usize = 16;

/// The places that are free.
#[derive(Debug)]
pub struct Places {
    all: Arc<Semaphore>,
    agents: HashMap<NodeId, Arc<Agent>>,
}

#[derive(Debug)]
struct Agent {
    free: Arc<Semaphore>,
    /// The last question had no answer.
    silent: AtomicBool,
}

/// Of one question; free again when dropped.
#[derive(Debug)]
pub struct Place {
    agent: Arc<Agent>,
    _of_agent: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            all: Arc::new(Semaphore::new(IN_ALL)),
            agents: HashMap::new(),
        }
    }
}

impl Default for Agent {
    fn default() -> Self {
        Self {
            free: Arc::new(Semaphore::new(TO_ONE_AGENT)),
            silent: AtomicBool::new(false),
        }
    }
}

impl Places {
    /// One for a question to this node's agent, if there is one.
    pub fn take(&mut self, node: NodeId) -> Option<Place> {
        let of_all = Arc::clone(&self.all).try_acquire_owned().ok()?;
        let agent = self.agents.entry(node).or_default();
        Agent::take(agent, of_all)
    }

    /// Forgets the agents of all other nodes.
    pub fn retain(&mut self, is_known: impl Fn(NodeId) -> bool) {
        self.agents.retain(|node, _| is_known(*node));
    }
}

impl Agent {
    fn take(self: &Arc<Self>, of_all: OwnedSemaphorePermit) -> Option<Place> {
        // One question tells whether it is silent still.
        let is_asked = self.free.available_permits() < TO_ONE_AGENT;
        if is_asked && self.silent.load(Ordering::Relaxed) {
            return None;
        }
        Some(Place {
            _of_agent: Arc::clone(&self.free).try_acquire_owned().ok()?,
            _of_all: of_all,
            agent: Arc::clone(self),
        })
    }
}

impl Place {
    /// The question has ended.
    pub fn ended(self, answered: bool) {
        self.agent.silent.store(!answered, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(places: &mut Places, node: NodeId) -> Vec<Place> {
        std::iter::from_fn(|| places.take(node)).collect()
    }

    #[test]
    fn an_agent_has_some_places_a_silent_one_has_one_and_none_has_all() {
        let (mut places, node) = (Places::default(), NodeId::new());
        let taken = all(&mut places, node);
        assert_eq!(taken.len(), TO_ONE_AGENT);
        assert!(places.take(NodeId::new()).is_some());
        taken.into_iter().for_each(|place| place.ended(false));

        let mut taken = all(&mut places, node);
        assert_eq!(taken.len(), 1, "it was silent");
        taken.remove(0).ended(true);
        assert_eq!(all(&mut places, node).len(), TO_ONE_AGENT, "it answers");
    }

    #[test]
    fn there_are_so_many_in_all_and_those_of_questions_that_broke_are_free_again() {
        let mut places = Places::default();
        let taken: Vec<_> = std::iter::from_fn(|| places.take(NodeId::new())).collect();
        assert_eq!(taken.len(), IN_ALL);
        drop(taken);
        assert!(places.take(NodeId::new()).is_some());
    }

    #[test]
    fn a_node_that_has_left_is_forgotten() {
        let (mut places, stays, leaves) = (Places::default(), NodeId::new(), NodeId::new());
        for node in [stays, leaves] {
            places.take(node).unwrap().ended(false);
        }
        places.retain(|node| node == stays);
        assert_eq!(all(&mut places, stays).len(), 1);
        assert_eq!(all(&mut places, leaves).len(), TO_ONE_AGENT);
    }
}
