//! State by key, of bounded size: an attack from a million addresses costs no more memory than the bound. A key has its
//! place among a few others; there the one that was used longest ago makes way. Who is refused again and again is used
//! again and again, and stays.

use std::sync::{Mutex, PoisonError};

/// Keys that share a lock.
const WAYS: usize = 8;

/// State by key. What was forgotten begins anew.
#[derive(Debug)]
pub struct Slots<V> {
    /// A power of two of them.
    sets: Box<[Mutex<Set<V>>]>,
}

/// The last used first.
type Set<V> = Vec<(u64, V)>;

impl<V: Default> Slots<V> {
    /// Room for about so many keys.
    #[must_use]
    pub fn new(keys: usize) -> Self {
        let sets = (keys / WAYS).max(1).next_power_of_two();
        Self {
            sets: (0..sets).map(|_| Mutex::default()).collect(),
        }
    }

    /// Works on the state of a key, whose bits must be spread evenly.
    pub fn with<R>(&self, key: u64, work: impl FnOnce(&mut V) -> R) -> R {
        let Some(set) = self.sets.get(self.place(key)) else {
            return work(&mut V::default());
        };
        let mut set = set.lock().unwrap_or_else(PoisonError::into_inner);
        match set.iter().position(|(known, _)| *known == key) {
            Some(at) => {
                if let Some(newer) = set.get_mut(..=at) {
                    newer.rotate_right(1);
                }
            }
            None => {
                set.truncate(WAYS - 1);
                set.insert(0, (key, V::default()));
            }
        }
        match set.first_mut() {
            Some((_, state)) => work(state),
            None => work(&mut V::default()),
        }
    }

    fn place(&self, key: u64) -> usize {
        let mask = self.sets.len().saturating_sub(1);
        usize::try_from(key & (mask as u64)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As a hash spreads them.
    const fn spread(n: u64) -> u64 {
        n.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
    }

    #[test]
    fn a_flood_of_keys_takes_no_more_than_the_bound_and_leaves_who_is_seen_often() {
        let slots: Slots<u32> = Slots::new(1_024);
        for n in 0..100_000 {
            slots.with(spread(n), |_| {});
            slots.with(7, |seen| *seen += 1);
        }
        let held: usize = slots.sets.iter().map(|set| set.lock().unwrap().len()).sum();
        assert!(held <= 1_024, "{held}");
        assert_eq!(slots.with(7, |seen| *seen), 100_000);
    }

    proptest! {
        #[test]
        fn within_the_bound_nothing_is_forgotten(keys in prop::collection::vec(0..WAYS as u64, 1..200)) {
            let slots: Slots<usize> = Slots::new(WAYS);
            for key in &keys {
                slots.with(*key, |seen| *seen += 1);
            }
            for key in 0..WAYS as u64 {
                let expected = keys.iter().filter(|known| **known == key).count();
                prop_assert_eq!(slots.with(key, |seen| *seen), expected);
            }
        }
    }
}
