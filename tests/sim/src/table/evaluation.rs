//! Questions to the scheduler: at most one pending per service.

use control_plane::store::evaluation::Shortage;
use domain::id::{EvaluationId, ServiceId};
use uuid::Uuid;

use super::Tables;
use crate::clock::{Millis, SECOND};

/// An answerer that died is followed by another after this long.
const CLAIMED_FOR: Millis = 30 * SECOND;
/// A blocked one is tried again after this long.
const BLOCKED_FOR: Millis = 30 * SECOND;

/// An evaluation.
#[derive(Debug, Clone)]
pub struct EvaluationRow {
    pub service: ServiceId,
    pub state: EvaluationState,
    pub created_at: Millis,
    pub updated_at: Millis,
}

/// How far it is.
#[derive(Debug, Clone)]
pub enum EvaluationState {
    Pending,
    Running { holder: Uuid, until: Millis },
    Blocked(Vec<Shortage>),
}

/// An evaluation in hand.
#[derive(Debug, Clone, Copy)]
pub struct Claim {
    pub id: EvaluationId,
    pub service: ServiceId,
}

impl Tables {
    /// Asks the scheduler to look at a service.
    pub fn request_evaluation(&mut self, id: EvaluationId, service: ServiceId, now: Millis) {
        let is_pending = |row: &&mut EvaluationRow| {
            row.service == service && matches!(row.state, EvaluationState::Pending)
        };
        if let Some(row) = self.evaluations.values_mut().find(is_pending) {
            row.updated_at = now;
            return;
        }
        let row = EvaluationRow {
            service,
            state: EvaluationState::Pending,
            created_at: now,
            updated_at: now,
        };
        self.evaluations.insert(id, row);
    }

    /// Takes the oldest pending one.
    pub fn claim_evaluation(&mut self, holder: Uuid, now: Millis) -> Option<Claim> {
        let (id, row) = self
            .evaluations
            .iter_mut()
            .filter(|(_, row)| matches!(row.state, EvaluationState::Pending))
            .min_by_key(|(id, row)| (row.created_at, **id))?;
        row.state = EvaluationState::Running {
            holder,
            until: now + CLAIMED_FOR,
        };
        row.updated_at = now;
        Some(Claim {
            id: *id,
            service: row.service,
        })
    }

    /// Ends one. Only the newest blocked one of a service says what is short.
    pub fn finish_evaluation(&mut self, claim: Claim, shortages: Vec<Shortage>, now: Millis) {
        self.evaluations.retain(|id, row| {
            let blocked = matches!(row.state, EvaluationState::Blocked(_));
            row.service != claim.service || !(blocked || *id == claim.id)
        });
        if shortages.is_empty() {
            return;
        }
        let row = EvaluationRow {
            service: claim.service,
            state: EvaluationState::Blocked(shortages),
            created_at: now,
            updated_at: now,
        };
        self.evaluations.insert(claim.id, row);
    }

    /// Gives back what a holder has in hand.
    pub fn release_evaluations(&mut self, ended: Uuid, now: Millis) {
        for row in self.evaluations.values_mut() {
            if let EvaluationState::Running { holder, until } = &mut row.state
                && *holder == ended
            {
                *until = now.saturating_sub(1);
            }
        }
    }

    /// The services whose evaluations shall be asked again: their answerer has died, or they are
    /// blocked and there may be room.
    pub fn revive_evaluations(&mut self, capacity: bool, now: Millis) -> Vec<ServiceId> {
        let mut services = Vec::new();
        self.evaluations.retain(|_, row| match &row.state {
            EvaluationState::Pending => true,
            EvaluationState::Running { until, .. } => {
                let died = *until < now;
                services.extend(died.then_some(row.service));
                !died
            }
            EvaluationState::Blocked(_) => {
                if capacity || row.updated_at + BLOCKED_FOR < now {
                    row.updated_at = now;
                    services.push(row.service);
                }
                true
            }
        });
        services.sort_unstable();
        services.dedup();
        services
    }

    /// What a service is short of.
    #[must_use]
    pub fn shortages(&self, service: ServiceId) -> Vec<Shortage> {
        let of = self.evaluations.values().rev();
        of.filter(|row| row.service == service)
            .find_map(|row| match &row.state {
                EvaluationState::Blocked(shortages) => Some(shortages.clone()),
                _ => None,
            })
            .unwrap_or_default()
    }
}
