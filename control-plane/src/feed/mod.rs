//! What goes into feeds: items rendered from rows, and the secrets that items refer to.

pub mod build;
pub mod heads;
pub mod instance;
pub mod platform_routes;
pub mod route;
pub mod secrets;
pub mod stream;
