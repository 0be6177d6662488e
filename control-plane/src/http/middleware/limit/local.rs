//! Counters in this process.

use governor::{
    DefaultKeyedRateLimiter, Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
    middleware::StateInformationMiddleware,
    state::keyed::DefaultKeyedStateStore,
};

use super::{Account, Caller, Kind, Quotas, Refused, Spent};

type Keyed =
    RateLimiter<Caller, DefaultKeyedStateStore<Caller>, DefaultClock, StateInformationMiddleware>;

/// A counter for each kind and caller.
pub(super) struct Local {
    reads: Keyed,
    writes: Keyed,
    address_reads: Keyed,
    address_writes: Keyed,
    logins: Keyed,
}

impl Local {
    pub(super) fn new(quotas: Quotas) -> Self {
        let keyed = |kind| {
            let quota = Quota::per_minute(quotas.of(kind));
            DefaultKeyedRateLimiter::keyed(quota).with_middleware()
        };
        Self {
            reads: keyed(Kind::Reads),
            writes: keyed(Kind::Writes),
            address_reads: keyed(Kind::AddressReads),
            address_writes: keyed(Kind::AddressWrites),
            logins: keyed(Kind::Logins),
        }
    }

    pub(super) fn admit(&self, account: &Account) -> Result<Spent, Refused> {
        match self.counter(account.kind).check_key(&account.caller) {
            Ok(state) => {
                let quota = state.quota();
                let remaining = state.remaining_burst_capacity();
                let used = quota.burst_size().get().saturating_sub(remaining);
                Ok(Spent {
                    quota: quota.burst_size(),
                    remaining,
                    reset: quota.replenish_interval() * used,
                })
            }
            Err(refused) => Err(Refused {
                quota: refused.quota().burst_size(),
                wait: refused.wait_time_from(DefaultClock::default().now()),
            }),
        }
    }

    pub(super) fn forget_idle(&self) {
        self.reads.retain_recent();
        self.writes.retain_recent();
        self.address_reads.retain_recent();
        self.address_writes.retain_recent();
        self.logins.retain_recent();
    }

    const fn counter(&self, kind: Kind) -> &Keyed {
        match kind {
            Kind::Reads => &self.reads,
            Kind::Writes => &self.writes,
            Kind::AddressReads => &self.address_reads,
            Kind::AddressWrites => &self.address_writes,
            Kind::Logins => &self.logins,
        }
    }
}
