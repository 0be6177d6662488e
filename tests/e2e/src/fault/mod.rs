//! What goes wrong with networks, done to the running platform: in its own namespaces only, and undone
//! when the value that stands for it is dropped.

mod detour;
mod partition;
mod rules;

pub use detour::Detour;
pub use partition::{Partition, Party, Way};
pub use rules::{Rule, Rules, remove_leftovers};
pub use testkit::chaos_proxy::{ChaosProxy, Conditions, Direction};
