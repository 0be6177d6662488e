//! Bounds what goes on at the same time, for one party and for all together, so that nobody takes
//! everybody's share of connections, memory and disk.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use uuid::Uuid;

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// The party has its share.
    #[error("{0} at once are the limit; end one, or wait until one has ended")]
    Share(usize),
    /// Others have all the places.
    #[error("too many at once on this server; try again in a minute")]
    All,
}

/// A number of places; clones share them.
#[derive(Debug, Clone)]
pub struct Slots(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    each: usize,
    all: usize,
    taken: Mutex<HashMap<Uuid, usize>>,
}

/// A place; free again when dropped.
#[derive(Debug)]
pub struct Slot {
    party: Uuid,
    of: Slots,
}

impl Slots {
    /// At most `each` for one party and `all` together.
    #[must_use]
    pub fn new(each: usize, all: usize) -> Self {
        Self(Arc::new(Inner {
            each,
            all,
            taken: Mutex::default(),
        }))
    }

    /// Takes a place for a party.
    ///
    /// # Errors
    /// When there is none.
    pub fn take(&self, party: Uuid) -> Result<Slot, Full> {
        let mut taken = self.taken();
        if taken.get(&party).is_some_and(|n| *n >= self.0.each) {
            return Err(Full::Share(self.0.each));
        }
        if taken.values().sum::<usize>() >= self.0.all {
            return Err(Full::All);
        }
        *taken.entry(party).or_default() += 1;
        Ok(Slot {
            party,
            of: self.clone(),
        })
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<Uuid, usize>> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.of.taken();
        if let Some(n) = taken.get_mut(&self.party) {
            *n -= 1;
            if *n == 0 {
                taken.remove(&self.party);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_gets_more_than_their_share_or_than_there_is() {
        let slots = Slots::new(2, 3);
        let (one, other) = (Uuid::now_v7(), Uuid::now_v7());
        let first = slots.take(one).unwrap();
        let _second = slots.take(one).unwrap();
        assert_eq!(slots.take(one).unwrap_err(), Full::Share(2));
        let _third = slots.take(other).unwrap();
        assert_eq!(slots.take(other).unwrap_err(), Full::All);
        drop(first);
        slots.take(one).unwrap();
    }

    #[test]
    fn who_has_no_place_is_forgotten() {
        let slots = Slots::new(1, 1);
        drop(slots.take(Uuid::now_v7()).unwrap());
        assert!(slots.taken().is_empty());
    }
}
