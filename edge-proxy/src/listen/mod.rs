//! The front: accepts TCP, ends TLS, reads and checks heads, and hands clean requests to Pingora.
//! Pingora's own defaults are not safe on the open internet; what they lack is closed here.

pub mod accept;
pub mod connection;
pub mod head;
pub mod io;
pub mod per_address;
pub mod web_socket;
