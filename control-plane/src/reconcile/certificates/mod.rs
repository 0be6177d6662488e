//! Certificates: of the platform's own names, and of tenants' own hostnames, by the authority that each is to have.

mod internal;
mod metrics;
mod orders;
mod platform;
mod preflight;
mod record;
mod step;
mod windows;

pub(super) use platform::ensure;

use super::{Context, Error};

/// Tenants' hostnames. What fails of one part keeps no other from its turn.
pub(super) async fn run(context: Context) -> Result<(), Error> {
    let internal = internal::issue(&context).await;
    let alone = context.state.authorities.in_order().is_empty();
    let orders = orders::advance(&context, alone).await;
    let windows = match alone {
        true => Ok(()),
        false => windows::ask(&context).await,
    };
    internal.and(orders).and(windows)
}
