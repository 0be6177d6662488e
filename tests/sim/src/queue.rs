//! What happens when. Events of the same millisecond come in an order that the seed decides.

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
};

use crate::{clock::Millis, random::Random};

/// Events in the order of time.
#[derive(Debug)]
pub struct Queue<E> {
    heap: BinaryHeap<Reverse<Entry<E>>>,
    added: u64,
    ties: Random,
}

#[derive(Debug)]
struct Entry<E> {
    order: (Millis, u64, u64),
    event: E,
}

impl<E> Queue<E> {
    /// An empty queue.
    #[must_use]
    pub fn new(ties: Random) -> Self {
        Self {
            heap: BinaryHeap::new(),
            added: 0,
            ties,
        }
    }

    /// Adds an event.
    pub fn push(&mut self, at: Millis, event: E) {
        self.added += 1;
        let order = (at, self.ties.number(), self.added);
        self.heap.push(Reverse(Entry { order, event }));
    }

    /// The next event and its time.
    pub fn pop(&mut self) -> Option<(Millis, E)> {
        let Reverse(entry) = self.heap.pop()?;
        Some((entry.order.0, entry.event))
    }
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}

impl<E> Eq for Entry<E> {}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order.cmp(&other.order)
    }
}
