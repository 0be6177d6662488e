//! Who a request comes from. Passwords are one identity provider; single sign-on becomes another one
//! beside [`password`] that ends in the same sessions. Sessions and tokens are opaque, 256 bits,
//! hashed at rest, and looked up per request (cached for at most a second).

mod actor;
pub mod password;
mod sessions;
pub mod token;

pub use actor::{Actor, Credential};
pub use sessions::{Error, Sessions};
