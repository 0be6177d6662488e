//! Builds on a real Docker Engine with a real registry and real git.

mod failures;
mod git_https;
mod images;
mod machine;
mod outages;
mod registry;
mod rig;
mod sources;
mod submodules;
mod surroundings;
mod taken_over;
