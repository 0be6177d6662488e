//! What the whole-system tests need: the running platform, a load generator that judges every
//! request, and typed access to the API. The tests themselves are in `tests/`.

pub mod command;
pub mod edge;
pub mod example;
pub mod fault;
pub mod load;
pub mod machine;
pub mod otlp;
pub mod platform;
pub mod scale;
pub mod wait;
