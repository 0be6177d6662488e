//! Certificates by server name: an immutable store, compiled from the feed and swapped in whole. A
//! handshake asks nobody but this store.

mod config;
mod store;

pub use config::Tickets;
pub use store::{Certificate, CertificateStore, Error};
