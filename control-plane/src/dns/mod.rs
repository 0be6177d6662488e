//! The domain name system: looks up tenants' own hostnames, and keeps the platform's names leading to its
//! edges. What a zone shall say is decided in pure code ([`goal`], [`plan`]); a [`provider`] reads and writes it.

pub mod challenge;
pub mod goal;
pub mod owner;
mod pace;
pub mod plan;
pub mod provider;
pub mod record;
mod resolver;
mod rfc2136;
mod route53;
pub mod zone;

pub use resolver::{Error, Resolver};
pub use zone::Zone;
