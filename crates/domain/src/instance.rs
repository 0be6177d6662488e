//! The life of an instance: numbers with gaps that only rise, so that a late report can never
//! take a state back.

use serde::{Deserialize, Serialize};

/// What the plan wants of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = InstanceDesired))]
#[serde(rename_all = "snake_case")]
pub enum Desired {
    /// Be there.
    Run,
    /// Drain, then be gone.
    Stop,
}

/// What an agent last saw. A restart in place stays [`State::Running`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = InstanceState))]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// In the plan, not yet seen by its agent.
    Assigned,
    /// The image is on its way.
    Pulling,
    /// The container exists; the startup probe has not passed.
    Starting,
    /// The startup probe has passed.
    Running,
    /// Told to end; finishing what it has begun.
    Draining,
    /// Gone. Final.
    Stopped,
}

impl State {
    /// All states, in order.
    pub const ALL: [Self; 6] = [
        Self::Assigned,
        Self::Pulling,
        Self::Starting,
        Self::Running,
        Self::Draining,
        Self::Stopped,
    ];

    /// The stored number: 10, 20, 30, 40, 60, 70.
    #[must_use]
    pub const fn number(self) -> i16 {
        match self {
            Self::Assigned => 10,
            Self::Pulling => 20,
            Self::Starting => 30,
            Self::Running => 40,
            Self::Draining => 60,
            Self::Stopped => 70,
        }
    }

    /// The state of a stored number.
    #[must_use]
    pub fn from_number(number: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.number() == number)
    }
}

/// Whether a second copy may run while a node is cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Duplication {
    /// Web, worker and static: replaced elsewhere when their node is late.
    Allowed,
    /// Cron, job, `recreate`, anything with a volume: replaced only when reported stopped.
    Never,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_rise_in_the_order_of_the_states_and_read_back() {
        for pair in State::ALL.windows(2) {
            assert!(pair[0] < pair[1] && pair[0].number() < pair[1].number());
        }
        for state in State::ALL {
            assert_eq!(State::from_number(state.number()), Some(state));
        }
        assert_eq!(State::from_number(50), None);
    }
}
