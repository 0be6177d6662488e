//! What goes wrong with networks and disks, done to the running platform: in its own namespaces and folders
//! only, and undone when the value that stands for it is dropped.

mod detour;
mod partition;
mod point;
mod rules;
mod small_disk;

pub use detour::Detour;
pub use partition::{Partition, Party, Way};
pub use point::{Armed, Strike};
pub use rules::{Rule, Rules, remove_leftovers};
pub use small_disk::{FILL, SMALL_DISK, heal_disk, remove_small_disks};
pub use testkit::chaos_proxy::{ChaosProxy, Conditions, Direction, Observed};
