//! Asks authorities when they want their certificates to be renewed (RFC 9773): earlier than planned when one is to be
//! revoked, and spread over time when many are due together.

use std::panic::AssertUnwindSafe;

use chrono::{DateTime, TimeDelta, Utc};
use domain::id::DomainId;
use futures::{FutureExt as _, future::join_all};

use super::super::{Context, Error, Turn};
use crate::{
    acme::{self, chain::Chain, order::renew_at},
    store::{
        domain_certificate::{self, Windowed},
        tx::SystemTx,
    },
};

/// Certificates of one turn.
const BATCH: i64 = 10;
/// How soon an authority may want to be asked again, at the soonest and at the latest.
const AGAIN: (TimeDelta, TimeDelta) = (TimeDelta::minutes(10), TimeDelta::days(1));

pub(super) async fn ask(context: &Context) -> Result<(), Error> {
    let mut tx = SystemTx::begin(&context.state.pools).await?;
    let due = domain_certificate::claim_windows(&mut tx, BATCH).await?;
    tx.commit().await?;
    let asked = due.iter().map(|one| ask_for(context, one));
    let done = join_all(asked).await;
    let mut turn = Turn::default();
    for (one, done) in due.iter().zip(done) {
        turn.note(one.domain(), done)?;
    }
    turn.end()
}

/// An authority that can't be reached is asked again in an hour: what was chosen before stands.
async fn ask_for(context: &Context, one: &Windowed) -> Result<(), Error> {
    // What an authority says may be rubbish of a kind that its client does not survive.
    let told = match AssertUnwindSafe(told(context, one)).catch_unwind().await {
        Ok(Ok(told)) => told,
        Ok(Err(error)) => {
            tracing::debug!(%error, authority = one.authority, "no renewal window");
            return Ok(());
        }
        Err(_) => {
            tracing::warn!(
                authority = one.authority,
                "a renewal window can't be understood"
            );
            return Ok(());
        }
    };
    let mut tx = SystemTx::begin(&context.state.pools).await?;
    match told {
        Some((renew_at, again)) => {
            domain_certificate::set_window(&mut tx, one, renew_at, again).await?;
        }
        None => domain_certificate::forget_window(&mut tx, one).await?,
    }
    Ok(tx.commit().await?)
}

async fn told(
    context: &Context,
    one: &Windowed,
) -> Result<Option<(DateTime<Utc>, TimeDelta)>, acme::Error> {
    let authority = context.state.authorities.open(&one.authority).await?;
    let Some(window) = authority.window(&one.chain_pem).await? else {
        return Ok(None);
    };
    let life = Chain::life(&one.chain_pem).map_err(|source| acme::Error::Issued {
        authority: one.authority.clone(),
        source,
    })?;
    let again = TimeDelta::from_std(window.ask_again_in).unwrap_or(AGAIN.1);
    let at = renew_at(life, Some(window.bounds), chance(one.domain()));
    Ok(Some((at, again.clamp(AGAIN.0, AGAIN.1))))
}

/// The same for a hostname each time that it is asked for, and even over all: each has its place in its window.
pub(super) fn chance(domain: DomainId) -> f64 {
    let bytes = domain.uuid().into_bytes();
    // The last bytes of a UUIDv7 are random.
    let last = u32::from_be_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]);
    f64::from(last) / f64::from(u32::MAX)
}
