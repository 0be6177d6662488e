//! Certificates: of the platform's own names, and of tenants' own hostnames, by the authority that each is to have.

mod internal;
mod metrics;
mod orders;
mod platform;
mod preflight;
mod windows;

pub(super) use platform::ensure;

use super::{Context, Error};

/// Tenants' hostnames.
pub(super) async fn run(context: Context) -> Result<(), Error> {
    internal::issue(&context).await?;
    if context.state.authorities.in_order().is_empty() {
        return Ok(());
    }
    windows::ask(&context).await?;
    orders::advance(&context).await
}
