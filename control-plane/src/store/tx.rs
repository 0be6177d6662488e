//! The only ways to an executor. Which one a function takes says what it may do:
//!
//! - [`TenantTx`]: reads one organization's rows; the database refuses writes and other tenants.
//! - [`Mutation`]: a change of intent, access or secrets. It can only be committed together with
//!   its audit event, so forgetting it is impossible.
//! - [`SystemTx`]: reads and writes plan and observation for reconcilers, jobs and the node API.

use sqlx::{PgConnection, Postgres, Transaction};

use domain::id::OrganizationId;

use crate::audit;

use super::{Error, Pools, audit_event, event};

/// A transaction that a store function can run statements in.
pub trait Access: Send {
    /// For the functions of `store` only.
    fn executor(&mut self) -> &mut PgConnection;
}

/// A store function that writes takes this: [`Mutation`] for intent, [`SystemTx`] for the rest.
pub trait Write: Access {}

/// Reads one organization's rows under row-level security, as the app role. Rolled back when dropped.
pub struct TenantTx(Transaction<'static, Postgres>);

impl TenantTx {
    /// Begins a read-only transaction for one organization.
    ///
    /// # Errors
    /// When the database can't be reached.
    pub async fn begin(pools: &Pools, organization: OrganizationId) -> Result<Self, Error> {
        let mut tx = pools.app.begin_with("begin read only").await?;
        set_organization(&mut tx, organization).await?;
        Ok(Self(tx))
    }
}

impl Access for TenantTx {
    fn executor(&mut self) -> &mut PgConnection {
        &mut self.0
    }
}

/// Reads and writes across organizations, as the system role (which passes row-level security).
/// For plan and observation; a person's change goes through [`Mutation`].
pub struct SystemTx(Transaction<'static, Postgres>);

impl SystemTx {
    /// Begins a transaction.
    ///
    /// # Errors
    /// When the database can't be reached.
    pub async fn begin(pools: &Pools) -> Result<Self, Error> {
        Ok(Self(pools.system.begin().await?))
    }

    /// Keeps what was written.
    ///
    /// # Errors
    /// When the database can't be reached: whether it was kept is then unknown.
    pub async fn commit(self) -> Result<(), Error> {
        Ok(self.0.commit().await?)
    }
}

impl Access for SystemTx {
    fn executor(&mut self) -> &mut PgConnection {
        &mut self.0
    }
}

impl Write for SystemTx {}

/// A change of intent, access or secrets that a person or program asked for.
pub struct Mutation {
    tx: Transaction<'static, Postgres>,
    organization: Option<OrganizationId>,
    events: Vec<event::NewEvent>,
}

impl Mutation {
    /// Begins a change of one organization's rows, under row-level security as the app role.
    ///
    /// # Errors
    /// When the database can't be reached.
    pub async fn tenant(pools: &Pools, organization: OrganizationId) -> Result<Self, Error> {
        let mut tx = pools.app.begin().await?;
        set_organization(&mut tx, organization).await?;
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
        Ok(Self::new(pools.system.begin().await?, organization))
    }

    fn new(tx: Transaction<'static, Postgres>, organization: Option<OrganizationId>) -> Self {
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
        audit_event::insert(&mut self.tx, self.organization, &entry).await?;
        // The counter's row is locked last and briefly: sequences follow the order of commits.
        if let Some(organization) = self.organization {
            event::append(&mut self.tx, organization, &self.events).await?;
        }
        Ok(self.tx.commit().await?)
    }
}

impl Access for Mutation {
    fn executor(&mut self) -> &mut PgConnection {
        &mut self.tx
    }
}

impl Write for Mutation {}

async fn set_organization(
    tx: &mut PgConnection,
    organization: OrganizationId,
) -> Result<(), Error> {
    sqlx::query("select set_config('app.organization_id', $1, true)")
        .bind(organization.uuid().to_string())
        .execute(tx)
        .await?;
    Ok(())
}
