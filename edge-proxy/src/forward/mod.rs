//! Between edges of different regions: one HTTP/2 connection over mTLS carries each forwarded
//! request as a stream of its own (`CONNECT`), so that a request costs no handshake and upgrades,
//! trailers and streaming pass unchanged.

pub mod accept;
pub mod dial;
pub mod link;
pub mod measure;
pub mod stream;
