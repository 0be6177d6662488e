//! Licences, bans and sources of what we depend on (`deny.toml`), by cargo-deny where somebody has installed it: it takes
//! minutes to build, so `./dev setup` does not.

use anyhow::Result;

use crate::{cargo::cargo, command::CommandExt as _, output::say};

/// Advisories are left out: they change with the day, not with the checkout.
const CHECKS: [&str; 3] = ["licenses", "bans", "sources"];

/// Checks them, or says that nothing was checked.
pub fn run() -> Result<()> {
    if !cargo(["deny", "--version"])?.succeeds() {
        say!(
            "cargo-deny is not installed: leaving out {} of dependencies (cargo install --locked cargo-deny)",
            CHECKS.join(", ")
        );
        return Ok(());
    }
    cargo(["deny", "check"])?.args(CHECKS).run()
}
