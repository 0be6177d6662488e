//! Whether a replica should get traffic: what it finds in its database, and what of that keeps it from its work.

use crate::{
    State,
    store::{self, epoch::Shown, server::Writes, tx::SystemTx},
};

/// Why a replica should get none.
#[derive(Debug, thiserror::Error)]
pub enum NotReady {
    /// It has not looked yet.
    #[error("starting")]
    Starting,
    /// It was told to end.
    #[error("ending: other replicas go on")]
    Ending,
    /// No statement can be run.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The server follows another.
    #[error(
        "the database is a standby that was not promoted and takes no changes: promote it (pg_ctl promote), or let \
         [database] lead to the primary"
    )]
    Standby,
    /// Somebody has set it so.
    #[error(
        "the database takes no changes (transaction_read_only is on): see default_transaction_read_only of the server, \
         the database and its roles"
    )]
    ReadOnly,
    /// A backup was restored that is older than what nodes have seen.
    #[error(
        "position {} of {} was seen, which this database does not have: restore a newer \
         backup, or run `control-plane admin restored`", .0.position, .0.feed
    )]
    Restored(Shown),
    /// A newer program renders routes.
    #[error(
        "routes are rendered in version {newest} and this program knows {known}: leave it to the newer \
         program, or run `railhead rollout stop` there before going back to this one"
    )]
    NewerRendering {
        /// In the database.
        newest: i32,
        /// This program's.
        known: i32,
    },
}

/// Looks.
///
/// # Errors
/// Why it should get none.
pub async fn check(state: &State) -> Result<(), NotReady> {
    let known = state.rendering.version;
    let mut tx = SystemTx::begin(&state.pools).await?;
    match store::server::writes(&mut tx).await? {
        Writes::Taken => {}
        Writes::RefusedByStandby => return Err(NotReady::Standby),
        Writes::Refused => return Err(NotReady::ReadOnly),
    }
    if let Some(shown) = store::epoch::shown(&mut tx).await? {
        return Err(NotReady::Restored(shown));
    }
    match store::ring::newest_version(&mut tx).await? {
        newest if newest > known => Err(NotReady::NewerRendering { newest, known }),
        _ => Ok(()),
    }
}
