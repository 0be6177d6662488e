//! The only ways to an executor. Which one a function takes says what it may do:
//!
//! - [`TenantTx`]: reads one organization's rows; the database refuses writes and other tenants.
//! - [`Mutation`]: a change of intent, access or secrets. It can only be committed together with
//!   its audit event, so forgetting it is impossible.
//! - [`SystemTx`]: reads and writes plan and observation for reconcilers, jobs and the node API.

use std::time::Duration;

use sqlx::{PgPool, Postgres, Transaction};

use domain::id::OrganizationId;

use crate::audit;

use super::{
    Error, Pools, audit_event,
    connection::{Connection, answered},
    event,
};

/// A transaction that a store function can run statements in.
pub trait Access: Send {
    /// For the functions of `store` only.
    fn executor(&mut self) -> Connection<'_>;
}

/// A store function that writes takes this: [`Mutation`] for intent, [`SystemTx`] for the rest.
pub trait Write: Access {}

/// A transaction of any kind, with a limit to the server's silence.
struct Tx {
    inner: Transaction<'static, Postgres>,
    patience: Duration,
}

impl Tx {
    async fn begin(pool: &PgPool, patience: Duration) -> Result<Self, Error> {
        let inner = answered(patience, pool.begin()).await?;
        Ok(Self { inner, patience })
    }

    async fn begin_read_only(pool: &PgPool, patience: Duration) -> Result<Self, Error> {
        let inner = answered(patience, pool.begin_with("begin read only")).await?;
        Ok(Self { inner, patience })
    }

    fn executor(&mut self) -> Connection<'_> {
        Connection::new(&mut self.inner, self.patience)
    }

    async fn commit(self) -> Result<(), Error> {
        Ok(answered(self.patience, self.inner.commit()).await?)
    }
}

/// Reads one organization's rows under row-level security, as the app role. Rolled back when dropped.
pub struct TenantTx(Tx);

impl TenantTx {
    /// Begins a read-only transaction for one organization.
    ///
    /// # Errors
    /// When the database can't be reached.
    pub async fn begin(pools: &Pools, organization: OrganizationId) -> Result<Self, Error> {
        let mut tx = Tx::begin_read_only(&pools.app, pools.patience).await?;
        set_organization(tx.executor(), organization).await?;
        Ok(Self(tx))
    }
}

impl Access for TenantTx {
    fn executor(&mut self) -> Connection<'_> {
        self.0.executor()
    }
}

/// Reads and writes across organizations, as the system role (which passes row-level security).
/// For plan and observation; a person's change goes through [`Mutation`].
pub struct SystemTx(Tx);

impl SystemTx {
    /// Begins a transaction.
    ///
    /// # Errors
    /// When the database can't be reached.
    pub async fn begin(pools: &Pools) -> Result<Self, Error> {
        Ok(Self(Tx::begin(&pools.system, pools.patience).await?))
    }

    /// Keeps what was written.
    ///
    /// # Errors
    /// When the database can't be reached: whether it was kept is then unknown.
    pub async fn commit(self) -> Result<(), Error> {
        self.0.commit().await
    }
}

impl Access for SystemTx {
    fn executor(&mut self) -> Connection<'_> {
        self.0.executor()
    }
}

impl Write for SystemTx {}

/// A change of intent, access or secrets that a person or program asked for.
pub struct Mutation {
    tx: Tx,
    organization: Option<OrganizationId>,
    events: Vec<event::NewEvent>,
}

impl Mutation {
    /// Begins a change of one organization's rows, under row-level security as the app role.
    ///
    /// # Errors
    /// When the database can't be reached.
    pub async fn tenant(pools: &Pools, organization: OrganizationId) -> Result<Self, Error> {
        let mut tx = Tx::begin(&pools.app, pools.patience).await?;
        set_organization(tx.executor(), organization).await?;
        Ok(Self::new(tx, Some(organization)))
    }

    /// Begins a change of what no tenant owns (regions, nodes, people, organizations themselves), as
    /// the system role. The audit event goes to `organization`'s log, or to the platform's.
    ///
    /// # Errors
    /// When the database can't be reached.
    pub async fn platform(
        pools: &Pools,
        organization: Option<OrganizationId>,
    ) -> Result<Self, Error> {
        let tx = Tx::begin(&pools.system, pools.patience).await?;
        Ok(Self::new(tx, organization))
    }

    fn new(tx: Tx, organization: Option<OrganizationId>) -> Self {
        Self {
            tx,
            organization,
            events: Vec::new(),
        }
    }

    /// The organization whose log gets the audit event.
    #[must_use]
    pub const fn organization(&self) -> Option<OrganizationId> {
        self.organization
    }

    /// Adds a row to the organization's event stream when the change is committed.
    pub fn event(&mut self, event: event::NewEvent) {
        self.events.push(event);
    }

    /// Keeps the change together with its audit event and events, or nothing of it.
    ///
    /// # Errors
    /// When the audit event can't be written (nothing is kept), or the database can't be reached.
    pub async fn commit(mut self, entry: audit::Entry) -> Result<(), Error> {
        audit_event::insert(self.tx.executor(), self.organization, &entry).await?;
        // The counter's row is locked last and briefly: sequences follow the order of commits.
        if let Some(organization) = self.organization {
            event::append(self.tx.executor(), organization, &self.events).await?;
        }
        self.tx.commit().await
    }
}

impl Access for Mutation {
    fn executor(&mut self) -> Connection<'_> {
        self.tx.executor()
    }
}

impl Write for Mutation {}

async fn set_organization(
    connection: Connection<'_>,
    organization: OrganizationId,
) -> Result<(), Error> {
    sqlx::query("select set_config('app.organization_id', $1, true)")
        .bind(organization.uuid().to_string())
        .execute(connection)
        .await?;
    Ok(())
}
