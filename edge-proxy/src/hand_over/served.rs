//! What an edge serves by, as it tells its successor: that one serves by no less, or not at all.

use domain::generation::Position;
use link::follow::Feed;
use protocol::feed::FeedName;
use serde::{Deserialize, Serialize};

use crate::state::State;

/// Why a process does not take over: its users would miss what they have now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Less {
    /// Its disk does not have what the other process serves by.
    #[error(
        "{feed} comes from the disk as of {here}, and the process that serves has it as of {there}: the disk can't be read whole, or this version can't read what lies there"
    )]
    Older {
        /// The feed.
        feed: &'static str,
        /// Where this process stands.
        here: Standing,
        /// Where the other one stands.
        there: Standing,
    },
    /// This build can't use what the other one can.
    #[error("{here} items can't be used by this version, and only {there} by the one that serves")]
    Unusable {
        /// Of this process.
        here: u64,
        /// Of the other one.
        there: u64,
    },
}

/// How far a feed has come; nowhere before its first commit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Standing(Option<Position>);

impl std::fmt::Display for Standing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(position) => write!(f, "{position}"),
            None => f.write_str("no commit"),
        }
    }
}

/// What an edge serves by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Served {
    global: Standing,
    region: Standing,
    /// Items that this build can't use.
    unusable: u64,
}

impl Served {
    /// By these feeds, as far as the edge has compiled them.
    #[must_use]
    pub fn of(feeds: &[Feed], state: &State) -> Self {
        let mut served = Self::default();
        let mut unread = 0;
        for feed in feeds {
            let status = feed.status();
            unread += status.refused;
            let standing = Standing(status.commit.map(|commit| commit.position()));
            match feed.tier() {
                FeedName::GlobalRoutes(_) => served.global = standing,
                FeedName::RegionRoutes(..) => served.region = standing,
                FeedName::Node(_) => {}
            }
        }
        served.unusable = state.metrics.traffic.snapshot(unread).items_refused;
        served
    }

    /// Whether users miss nothing when this takes the place of `other`.
    ///
    /// # Errors
    /// [`Less`].
    pub fn is_no_less_than(&self, other: &Self) -> Result<(), Less> {
        let feeds = [
            ("routes/global", self.global, other.global),
            ("routes/region", self.region, other.region),
        ];
        if let Some((feed, here, there)) = feeds.into_iter().find(|(_, here, there)| here < there) {
            return Err(Less::Older { feed, here, there });
        }
        if self.unusable > other.unusable {
            return Err(Less::Unusable {
                here: self.unusable,
                there: other.unusable,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use domain::generation::{Epoch, Generation};

    use super::*;

    fn standing(epoch: i64, generation: i64) -> Standing {
        Standing(Some(Position {
            epoch: Epoch(epoch),
            generation: Generation(generation),
        }))
    }

    fn served(unusable: u64) -> Served {
        Served {
            global: standing(1, 7),
            region: standing(1, 90),
            unusable,
        }
    }

    #[test]
    fn the_same_and_more_are_no_less() {
        let there = served(1);
        let newer = Served {
            region: standing(2, 1),
            ..served(0)
        };
        for here in [there, newer] {
            assert_eq!(here.is_no_less_than(&there), Ok(()), "{here:?}");
        }
        let nothing = Served::default();
        assert_eq!(nothing.is_no_less_than(&nothing), Ok(()));
    }

    #[test]
    fn an_older_feed_none_and_more_that_is_unusable_are_less() {
        let there = served(0);
        let lost = Served {
            region: Standing::default(),
            ..there
        };
        let older = Served {
            global: standing(1, 6),
            ..there
        };
        let unusable = served(1);
        let reasons = [lost, older, unusable]
            .map(|here| here.is_no_less_than(&there).unwrap_err().to_string());
        for (reason, says) in reasons.iter().zip(["no commit", "1/6", "1 items"]) {
            assert!(reason.contains(says), "{reason}");
        }
    }

    #[test]
    fn what_another_version_says_is_understood() {
        let there = served(3);
        let mut line = serde_json::to_value(there).unwrap();
        line["later"] = true.into();
        assert_eq!(serde_json::from_value::<Served>(line).unwrap(), there);
        let nothing = serde_json::from_str::<Served>("{}").unwrap();
        assert_eq!(nothing, Served::default());
    }
}
