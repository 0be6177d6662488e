//! How rough a history is; which kinds of trouble it has follows from its seed.

use crate::{
    clock::{Millis, SECOND},
    network::Weather,
};

/// Kinds of trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Links between nodes and the control plane are cut: of one node or of a region, both ways or to nodes only.
    Partition,
    /// Likewise, from nodes only: they are told, and not heard.
    Unheard,
    /// Processes die.
    Crash,
    /// Replicas are stopped and woken again.
    Pause,
    /// The database goes away for a while, or a standby with less takes over.
    FailOver,
    /// The database is restored to an earlier point.
    Restore,
    /// The database fails over, and is restored to before that while the nodes that saw it are cut off.
    Relapse,
    /// Machines lose their power.
    Power,
    /// Disks are replaced by empty ones.
    Wipe,
    /// Agents' snapshots of their feeds are damaged, and nothing else on their disks.
    Spoil,
    /// Half of a region can't be seen, for longer than it takes to be lost.
    Dark,
    /// A node is told what its position is in a copy of the database that went its own way.
    Fork,
    /// Replicas come back with newer programs, some of which render what edges can't use.
    Upgrade,
}

/// How rough a history is.
#[derive(Debug, Clone)]
pub struct Climate {
    /// What happens.
    pub troubles: Vec<Trouble>,
    /// Between two troubles, at most.
    pub pause_max: Millis,
    /// Actions that an engine refuses, per mille.
    pub engine_fails: u32,
    /// Tables that an edge takes long to swap in, per mille.
    pub edges_slow: u32,
    /// Tenants do nothing but move their services between regions.
    pub moves: bool,
    /// Thirty times as many requests: in the soak time of a ring every edge has some dozens.
    pub often: bool,
    /// Tenants deploy again and again, every second build takes minutes, and so many transactions are slow.
    pub builds: bool,
    /// Of the network.
    pub weather: Weather,
}

impl Climate {
    /// Nothing but deployments.
    #[must_use]
    pub fn calm() -> Self {
        Self {
            troubles: Vec::new(),
            pause_max: 30 * SECOND,
            engine_fails: 0,
            edges_slow: 100,
            moves: false,
            builds: false,
            often: false,
            weather: Weather::FAIR,
        }
    }

    /// Nothing but moves between regions, before edges of which half are slow.
    #[must_use]
    pub fn moves() -> Self {
        Self {
            edges_slow: 500,
            moves: true,
            often: true,
            ..Self::calm()
        }
    }

    /// Nothing but deployments and new programs, one after the other, before many users.
    #[must_use]
    pub fn upgrades() -> Self {
        Self {
            troubles: vec![Trouble::Upgrade],
            pause_max: 15 * SECOND,
            often: true,
            ..Self::calm()
        }
    }

    /// Whether nothing breaks: a replica that is replaced is missed by nobody.
    #[must_use]
    pub fn is_calm(&self) -> bool {
        self.troubles
            .iter()
            .all(|trouble| *trouble == Trouble::Upgrade)
    }

    /// Nothing but new versions, many of which take minutes to build, while what builds them dies or is cut off.
    #[must_use]
    pub fn builds() -> Self {
        use Trouble::{Crash, FailOver, Partition, Pause, Power, Restore};
        Self {
            builds: true,
            pause_max: 15 * SECOND,
            ..Self::with(vec![Partition, Crash, Pause, Power, FailOver, Restore])
        }
    }

    /// The climate of a seed: every eighth is calm, the others have one trouble or all.
    #[must_use]
    pub fn of_seed(seed: u64) -> Self {
        use Trouble::{Crash, FailOver, Partition, Pause, Power, Relapse, Restore, Upgrade, Wipe};
        let troubles = match seed % 8 {
            0 => {
                return Self {
                    troubles: vec![Upgrade],
                    ..Self::calm()
                };
            }
            1 => vec![Partition],
            2 => vec![Crash, Pause, Upgrade],
            3 => vec![FailOver, Relapse],
            4 => vec![Restore, Crash, Upgrade],
            5 => vec![Power, Wipe, Crash],
            6 => vec![Partition, Crash, Pause, Power],
            _ => vec![
                Partition, Crash, Pause, FailOver, Restore, Relapse, Power, Wipe, Upgrade,
            ],
        };
        Self::with(troubles)
    }

    /// These troubles, in bad weather.
    #[must_use]
    pub fn with(troubles: Vec<Trouble>) -> Self {
        Self {
            troubles,
            pause_max: 30 * SECOND,
            engine_fails: 20,
            edges_slow: 150,
            moves: false,
            builds: false,
            often: false,
            weather: Weather {
                delay_max: 60,
                lost: 20,
                duplicated: 20,
            },
        }
    }
}
