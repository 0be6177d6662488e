//! A node against a control plane over real TLS, HTTP/2 and disks. The control plane here is a small
//! one of the tests: it can also misbehave.

mod control_plane;
mod download;
mod follow;
mod identity;
mod metrics;
mod mtls;
mod report;
mod version;

use testkit::pki;
