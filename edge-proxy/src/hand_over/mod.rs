//! An edge goes over to another program, or another configuration, while users come and go: at SIGHUP it starts its
//! successor and gives it the sockets that it listens on, then the state folder, then its place before the
//! supervisor, and ends what it has begun. Until the successor serves, this process does, and when that fails, it
//! goes on (docs/adr/0061).

mod line;
mod predecessor;
mod served;
mod sockets;
mod successor;

pub use line::Error;
pub use predecessor::{Leaving, Predecessor};
pub use served::{Less, Served};
pub use sockets::{NotListening, Sockets};
pub use successor::when_asked;

/// Says that the process takes over from the one at its standard input.
pub const TAKE_OVER: &str = "take-over";
