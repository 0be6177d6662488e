//! Bounds what goes on at the same time, for one party and for all together, so that nobody takes
//! everybody's share of connections, memory and disk.

use std::{
    collections::HashMap,
    hash::Hash,
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
#[derive(Debug)]
pub struct Slots<P: Copy + Eq + Hash = Uuid>(Arc<Inner<P>>);

#[derive(Debug)]
struct Inner<P> {
    each: usize,
    all: usize,
    taken: Mutex<HashMap<P, usize>>,
}

/// A place, or some; free again when dropped.
#[derive(Debug)]
pub struct Slot<P: Copy + Eq + Hash = Uuid> {
    party: P,
    places: usize,
    of: Slots<P>,
}

impl<P: Copy + Eq + Hash> Clone for Slots<P> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<P: Copy + Eq + Hash> Slots<P> {
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
    pub fn take(&self, party: P) -> Result<Slot<P>, Full> {
        self.take_many(party, 1)
    }

    /// Takes so many places for a party.
    ///
    /// # Errors
    /// When there are fewer.
    pub fn take_many(&self, party: P, places: usize) -> Result<Slot<P>, Full> {
        let mut taken = self.taken();
        let own = taken.get(&party).copied().unwrap_or_default();
        if own + places > self.0.each {
            return Err(Full::Share(self.0.each));
        }
        if taken.values().sum::<usize>() + places > self.0.all {
            return Err(Full::All);
        }
        taken.insert(party, own + places);
        Ok(Slot {
            party,
            places,
            of: self.clone(),
        })
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<P, usize>> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<P: Copy + Eq + Hash> Drop for Slot<P> {
    fn drop(&mut self) {
        let mut taken = self.of.taken();
        if let Some(n) = taken.get_mut(&self.party) {
            *n -= self.places;
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
    fn who_takes_many_places_gives_them_all_back() {
        let slots = Slots::new(3, 4);
        let many = slots.take_many("one", 3).unwrap();
        assert_eq!(slots.take_many("other", 2).unwrap_err(), Full::All);
        drop(many);
        let _two = slots.take_many("other", 2).unwrap();
        assert_eq!(slots.take_many("other", 2).unwrap_err(), Full::Share(3));
    }

    #[test]
    fn who_has_no_place_is_forgotten() {
        let slots = Slots::new(1, 1);
        drop(slots.take(Uuid::now_v7()).unwrap());
        assert!(slots.taken().is_empty());
    }
}
