//! Leases by the database's clock.

use uuid::Uuid;

use super::{LeaseRow, Tables};
use crate::clock::Millis;

impl Tables {
    /// Takes, renews or takes over a lease; none while somebody else holds it.
    pub fn take_lease(
        &mut self,
        name: &str,
        holder: Uuid,
        lifetime: Millis,
        now: Millis,
    ) -> Option<i64> {
        let expires_at = now + lifetime;
        let Some(lease) = self.leases.get_mut(name) else {
            let lease = LeaseRow {
                holder,
                epoch: 1,
                expires_at,
            };
            self.leases.insert(name.to_owned(), lease);
            return Some(1);
        };
        // One that lies further ahead was given by a clock that was wrong.
        let holds = (now..=now + 2 * lifetime).contains(&lease.expires_at);
        if lease.holder != holder && holds {
            return None;
        }
        lease.epoch += i64::from(lease.holder != holder);
        (lease.holder, lease.expires_at) = (holder, expires_at);
        Some(lease.epoch)
    }

    /// Gives all leases of a holder back: they have run out.
    pub fn release_leases(&mut self, holder: Uuid, now: Millis) {
        let own = self.leases.values_mut().filter(|l| l.holder == holder);
        own.for_each(|lease| lease.expires_at = now.saturating_sub(1));
    }
}
