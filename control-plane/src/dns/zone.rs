//! The zone that the platform's names are in: brings it to what the edges' state asks for, and says what it had
//! to leave alone.

use std::{
    collections::BTreeSet,
    fmt::Display,
    net::SocketAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use domain::name::Name;

use crate::config::dns as config;

use super::{
    goal::{Edge, Goal, Shape, goals, unplaced},
    owner::Owner,
    pace::{Due, Pace},
    plan::{Change, Foreign, plan},
    provider::{self, Provider},
    record::Key,
    rfc2136::Rfc2136,
    route53::{self, Route53},
};

/// The provider has this long for all that one turn asks of it.
const TURN: Duration = Duration::from_secs(45);
/// Names that an error says at most.
const NAMED: usize = 3;

/// Why the zone is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The provider did not do its part.
    #[error(transparent)]
    Provider(#[from] provider::Error),
    /// It took too long.
    #[error("the DNS provider of {0} has not done its part within {TURN:?}")]
    Slow(String),
    /// It failed not long ago.
    #[error("{reason} (it is asked again in {} s)", .left.as_secs())]
    BackOff {
        /// Until it is asked again.
        left: Duration,
        /// What it said.
        reason: String,
    },
    /// Names are in use by others: they are left alone, the rest is done.
    #[error("{0}")]
    Foreign(String),
    /// Regions that nobody is sent to.
    #[error(
        "no user is sent to these regions, as [dns.provider.route53.regions] does not say which AWS region they are near: {0}"
    )]
    Unplaced(String),
}

impl Error {
    /// Whether it was told before, and only waits.
    #[must_use]
    pub const fn is_waiting(&self) -> bool {
        matches!(self, Self::BackOff { .. })
    }
}

/// What a turn did.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Unless nothing was due.
    pub was_looked_at: bool,
    /// Changes that were made.
    pub changes: Vec<Change>,
    /// Sets that stay though no edge of theirs answers.
    pub kept: Vec<Key>,
    /// Names that were left alone.
    pub foreign: Vec<Foreign>,
    /// Regions that nobody is sent to.
    pub unplaced: BTreeSet<Name>,
}

impl Outcome {
    /// Whether the zone is as wanted.
    ///
    /// # Errors
    /// When names had to be left alone, or regions are nowhere.
    pub fn verdict(&self) -> Result<(), Error> {
        if !self.foreign.is_empty() {
            return Err(Error::Foreign(some(&self.foreign)));
        }
        if !self.unplaced.is_empty() {
            return Err(Error::Unplaced(some(&self.unplaced)));
        }
        Ok(())
    }
}

/// The first of many, for an error.
fn some<T: Display>(all: impl IntoIterator<Item = T>) -> String {
    let mut texts: Vec<String> = all.into_iter().map(|one| one.to_string()).collect();
    let more = texts.len().saturating_sub(NAMED);
    texts.truncate(NAMED);
    match more {
        0 => texts.join("; "),
        more => format!("{}; and {more} more", texts.join("; ")),
    }
}

/// The zone of the platform's names.
pub struct Zone {
    name: String,
    names: Vec<String>,
    shape: Shape,
    ttl: u32,
    owner: Owner,
    provider: Box<dyn Provider>,
    /// Asked whether a record is served; the zone's own when there are none.
    name_servers: Vec<SocketAddr>,
    pace: Mutex<Pace>,
}

impl Zone {
    /// As configured. Nobody is asked anything yet.
    ///
    /// # Errors
    /// When a key can't be read.
    pub async fn connect(
        config: &config::Provider,
        platform_domain: &str,
        owner: Owner,
    ) -> anyhow::Result<Self> {
        let (provider, shape): (Box<dyn Provider>, Shape) = match &config.service {
            config::Service::Rfc2136(service) => {
                let provider = Rfc2136::new(service, &config.zone, platform_domain, &owner)?;
                (Box::new(provider), Shape::Plain)
            }
            config::Service::Route53(service) => {
                let provider = Route53::connect(service, platform_domain, &owner).await;
                (Box::new(provider), route53::shape(service, platform_domain))
            }
        };
        Ok(Self {
            name: config.zone.clone(),
            names: config.names(platform_domain),
            shape,
            ttl: config.ttl_seconds(),
            owner,
            provider,
            name_servers: config.name_servers.clone(),
            pace: Mutex::default(),
        })
    }

    /// Makes the zone say what these edges ask for, unless it did a moment ago or the provider needs a pause.
    ///
    /// # Errors
    /// When the provider does not do its part, or needs a pause after it has not.
    pub async fn reconcile(&self, edges: &[Edge]) -> Result<Outcome, Error> {
        let goals = self.goals(edges);
        let due = self.pace().due(Instant::now(), &goals);
        match due {
            Due::Now => {}
            Due::Rest => return Ok(Outcome::default()),
            Due::BackOff(left, reason) => return Err(Error::BackOff { left, reason }),
        }
        let done = tokio::time::timeout(TURN, self.repair(edges)).await;
        let done = done.unwrap_or_else(|_| Err(Error::Slow(self.name.clone())));
        let (mut pace, now) = (self.pace(), Instant::now());
        match &done {
            Ok(outcome) if outcome.verdict().is_ok() => pace.reached(now, goals),
            Ok(_) | Err(Error::Provider(provider::Error::Changed { .. })) => pace.answered(),
            Err(error) => pace.failed(now, error.to_string()),
        }
        drop(pace);
        done
    }

    /// The same at once, and looks in any case.
    ///
    /// # Errors
    /// When the provider does not do its part.
    pub async fn repair(&self, edges: &[Edge]) -> Result<Outcome, Error> {
        let present = self.provider.list().await?;
        let plan = plan(&self.goals(edges), &present, &self.owner);
        if !plan.changes.is_empty() {
            self.provider.change(&plan.changes).await?;
        }
        Ok(Outcome {
            was_looked_at: true,
            changes: plan.changes,
            kept: plan.kept,
            foreign: plan.foreign,
            unplaced: unplaced(edges, &self.shape),
        })
    }

    /// Whoever writes it.
    #[must_use]
    pub fn provider(&self) -> &dyn Provider {
        self.provider.as_ref()
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Who is asked whether a record is served; nobody: the zone's own name servers.
    pub(super) fn name_servers(&self) -> &[SocketAddr] {
        &self.name_servers
    }

    fn goals(&self, edges: &[Edge]) -> Vec<Goal> {
        goals(edges, &self.names, &self.shape, self.ttl)
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
