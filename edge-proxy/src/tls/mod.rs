//! Certificates by server name: an immutable store, compiled from the feed and swapped in whole. A
//! handshake asks nobody but this store.

mod challenge;
mod config;
mod store;

pub use challenge::{ALPN as CHALLENGE_ALPN, challenge_config};
pub use config::Tickets;
pub use store::{Certificate, CertificateStore, Error};
