//! Host ports rotate through their range, and a port that was held rests for 24 h, so that an old
//! route table never reaches another tenant's container (docs/ARCHITECTURE.md, invariant 9).

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
    path::PathBuf,
};

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::disk;

const REST: TimeDelta = TimeDelta::hours(24);

/// Why there is no host port.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// All are held or rest.
    #[error(
        "no host port is free in {first}-{last}: all are held or were within 24 h; widen host_ports in agent.toml"
    )]
    Exhausted {
        /// Of the range.
        first: u16,
        /// Of the range.
        last: u16,
    },
    /// The choice could not be remembered, so it was not made.
    #[error(transparent)]
    Disk(#[from] disk::Error),
}

/// Which ports may be given out, remembered on disk.
#[derive(Debug)]
pub struct Ports {
    path: PathBuf,
    range: RangeInclusive<u16>,
    rotation: Rotation,
}

/// Which ports were given out, and when each was held last.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Rotation {
    last: Option<u16>,
    held_at: BTreeMap<u16, DateTime<Utc>>,
    /// Given out and not released, as far as is known.
    #[serde(default)]
    given: BTreeSet<u16>,
}

impl Rotation {
    /// Takes the next port of `range` that is neither in `held` nor resting; none when there is none. The rest of one
    /// whose container went without a release (the agent was killed, somebody else removed it) begins now.
    pub fn take(
        &mut self,
        range: &RangeInclusive<u16>,
        held: &BTreeSet<u16>,
        now: DateTime<Utc>,
    ) -> Option<u16> {
        let gone: Vec<u16> = self.given.difference(held).copied().collect();
        gone.into_iter().for_each(|port| self.release(port, now));
        self.held_at.retain(|_, at| {
            // A clock that was ahead must not make a port rest until then.
            *at = now.min(*at);
            now - *at < REST
        });
        let port = self.next_free(range, held)?;
        self.last = Some(port);
        self.held_at.insert(port, now);
        self.given.clone_from(held);
        self.given.insert(port);
        Some(port)
    }

    /// Begins the rest of a port whose container is gone.
    pub fn release(&mut self, port: u16, now: DateTime<Utc>) {
        self.given.remove(&port);
        self.held_at.insert(port, now);
    }

    fn next_free(&self, range: &RangeInclusive<u16>, held: &BTreeSet<u16>) -> Option<u16> {
        let after = |port: &u16| self.last.is_none_or(|last| *port > last);
        let rotated = range.clone().filter(after);
        let again = range.clone().filter(|port| !after(port));
        rotated
            .chain(again)
            .find(|port| !held.contains(port) && !self.held_at.contains_key(port))
    }
}

impl Ports {
    /// Reads what earlier runs gave out.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn load(path: PathBuf, range: RangeInclusive<u16>) -> Result<Self, disk::Error> {
        let rotation = disk::read(&path)?.unwrap_or_default();
        Ok(Self {
            path,
            range,
            rotation,
        })
    }

    /// Takes the next port that is neither in `held` nor resting, and remembers it before it is used.
    ///
    /// # Errors
    /// When there is none, or the choice can't be written.
    pub async fn take(&mut self, held: &BTreeSet<u16>, now: DateTime<Utc>) -> Result<u16, Error> {
        let mut rotation = self.rotation.clone();
        let port = rotation.take(&self.range, held, now);
        disk::write(&self.path, &rotation).await?;
        self.rotation = rotation;
        port.ok_or(Error::Exhausted {
            first: *self.range.start(),
            last: *self.range.end(),
        })
    }

    /// Begins the rest of a port whose container is gone.
    ///
    /// # Errors
    /// When it can't be written.
    pub async fn release(&mut self, port: u16, now: DateTime<Utc>) -> Result<(), disk::Error> {
        self.rotation.release(port, now);
        disk::write(&self.path, &self.rotation).await
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ports(folder: &tempfile::TempDir) -> Ports {
        Ports::load(folder.path().join("ports.json"), 20_000..=20_003).unwrap()
    }

    #[tokio::test]
    async fn rotates_across_restarts_and_says_when_all_rest() {
        let folder = tempfile::tempdir().unwrap();
        let (none, now) = (BTreeSet::new(), Utc::now());
        for expected in 20_000..=20_003 {
            assert_eq!(ports(&folder).take(&none, now).await.unwrap(), expected);
        }
        let error = ports(&folder).take(&none, now).await.unwrap_err();
        let error = error.to_string();
        assert!(error.contains("20000-20003"), "{error}");
        let tomorrow = now + TimeDelta::hours(24);
        assert_eq!(ports(&folder).take(&none, tomorrow).await.unwrap(), 20_000);
    }

    #[tokio::test]
    async fn a_port_held_for_days_rests_a_day_after_its_release() {
        let folder = tempfile::tempdir().unwrap();
        let mut ports = ports(&folder);
        let start = Utc::now();
        let port = ports.take(&BTreeSet::new(), start).await.unwrap();
        let end = start + TimeDelta::days(5);
        ports.release(port, end).await.unwrap();
        let others: BTreeSet<u16> = (20_000..=20_003).filter(|p| *p != port).collect();
        let early = ports.take(&others, end + TimeDelta::hours(23)).await;
        assert!(early.is_err(), "{early:?}");
        let in_time = ports.take(&others, end + TimeDelta::hours(24)).await;
        assert!(in_time.is_ok(), "{in_time:?}");
    }

    #[test]
    fn a_port_held_by_a_clock_that_was_ahead_rests_a_day_from_when_it_is_right_again() {
        let (mut rotation, none, now) = (Rotation::default(), BTreeSet::new(), Utc::now());
        let mut take = |at| rotation.take(&(20_000..=20_000), &none, at);
        assert_eq!(take(now + TimeDelta::days(400)), Some(20_000));
        assert_eq!(take(now), None);
        assert_eq!(take(now + TimeDelta::hours(24)), Some(20_000));
    }

    #[test]
    fn a_port_whose_container_went_without_a_release_rests_a_day_all_the_same() {
        let mut rotation = Rotation::default();
        let (range, start) = (20_000..=20_001, Utc::now());
        let mut take = |held: &[u16], hours| {
            let held = held.iter().copied().collect();
            rotation.take(&range, &held, start + TimeDelta::hours(hours))
        };
        assert_eq!(take(&[], 0), Some(20_000));
        assert_eq!(take(&[20_000], 100), Some(20_001));
        // Both containers are gone, and an agent that was killed has released neither.
        assert_eq!(take(&[], 200), None);
        assert_eq!(take(&[], 223), None);
        assert_eq!(take(&[], 224), Some(20_000));
    }

    #[tokio::test]
    async fn a_choice_that_the_disk_refuses_uses_no_port_up() {
        let folder = tempfile::tempdir().unwrap();
        let mut ports = ports(&folder);
        let in_the_way = folder.path().join("ports.new");
        std::fs::create_dir(&in_the_way).unwrap();
        for _ in 0..10 {
            let refused = ports.take(&BTreeSet::new(), Utc::now()).await.unwrap_err();
            assert!(matches!(refused, Error::Disk(_)), "{refused}");
        }
        std::fs::remove_dir(in_the_way).unwrap();
        let port = ports.take(&BTreeSet::new(), Utc::now()).await.unwrap();
        assert_eq!(port, 20_000);
    }

    proptest! {
        #[test]
        fn no_port_twice_within_a_day(hours in proptest::collection::vec(0_i64..12, 1..40)) {
            let mut rotation = Rotation::default();
            let range = 20_000..=20_003;
            let mut taken: BTreeMap<u16, DateTime<Utc>> = BTreeMap::new();
            let mut now = Utc::now();
            for step in hours {
                now += TimeDelta::hours(step);
                if let Some(port) = rotation.take(&range, &BTreeSet::new(), now)
                    && let Some(before) = taken.insert(port, now)
                {
                    prop_assert!(now - before >= REST);
                }
            }
        }
    }
}
