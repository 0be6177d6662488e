//! Where a node's files are. The units in `packaging/systemd` say the same.

/// Configuration and the tokens until they are used.
pub const CONFIG: &str = "/etc/railhead";
/// State; engines' data, too.
pub const STATE: &str = "/var/lib/railhead";
/// Programs.
pub const PROGRAMS: &str = "/usr/local/lib/railhead";
/// Units.
pub const UNITS: &str = "/etc/systemd/system";
/// What was decided.
pub const NODE: &str = "/etc/railhead/node.json";
/// Users of the system.
pub const SYSUSERS: &str = "/etc/sysusers.d/railhead.conf";
/// The group that may read the edge's configuration.
pub const EDGE_GROUP: &str = "railhead-edge";
/// The file that the build engine's disk is.
pub const BUILD_DISK: &str = "/var/lib/railhead/build.ext4";
/// Where agent and edge write more than their state.
pub const FOLDERS: [(&str, u32); 4] = [
    (CONFIG, 0o755),
    (STATE, 0o755),
    // Sources are fetched by `nobody`, who passes through.
    ("/var/lib/railhead/sources", 0o711),
    ("/var/lib/railhead/build", 0o700),
];

/// The state folder of a role. The node key lies beside it (`state.key`), in the role's own folder.
pub fn state_dir(role: &str) -> String {
    format!("{STATE}/{role}/state")
}

/// The token that a role joins with, once.
pub fn token_file(role: &str) -> String {
    format!("{CONFIG}/{role}.token")
}
