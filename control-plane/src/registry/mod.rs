//! Who may do what in the image registry. The registry itself (docker-registry) believes only
//! tokens that are signed here, and each token names one repository: a node pushes what it builds
//! and pulls what it runs, nobody reaches another organization's images, and base images
//! (`library/*`) are open to all.

mod access;
mod client;
mod key_id;
mod node;
mod scope;
mod token;

pub use access::{Subject, answer, granted};
pub use client::Registry;
pub use node::{Error as NodeTokenError, node_token};
pub use scope::{Action, Repository, Scope};
pub use token::{Error, Issuer};

/// The registry's name in tokens (`service`, `aud`), as in its own configuration.
pub const SERVICE: &str = "railhead-registry";
/// Our name in tokens (`iss`), as in the registry's configuration.
pub const ISSUER: &str = "railhead";
