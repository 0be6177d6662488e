//! Which host name belongs to which service, and where its instances are: immutable tables that
//! a request holds for as long as it lasts.

pub mod challenge;
mod entry;
pub mod hostname;
mod paths;
pub mod table;

pub use entry::Route;
pub use table::RouteTable;
