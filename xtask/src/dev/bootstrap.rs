//! What an operator does once on a new platform: organization and administrator, regions, join tokens.

use anyhow::{Context as _, Result};

use super::{
    control_plane::admin,
    node,
    plan::{Plan, Region},
    secrets,
};
use crate::command::CommandExt as _;

/// The organization that everything of the local platform belongs to.
pub const ORGANIZATION: &str = "acme";
/// Who administers it.
pub const ADMINISTRATOR: &str = "admin@railhead.test";

/// Organization, administrator, token and regions; nothing changes at a second call.
pub fn ensure(plan: &Plan) -> Result<()> {
    secrets::ensure(plan, "admin.password")?;
    admin(
        plan,
        &[
            "bootstrap",
            "--organization",
            ORGANIZATION,
            "--email",
            ADMINISTRATOR,
            "--password-file",
        ],
    )
    .arg(plan.secret_file("admin.password"))
    .arg("--token-file")
    .arg(plan.admin_token_file())
    .read()
    .context("making the organization and its administrator")?;
    for region in plan.regions() {
        admin(plan, &["create-region", region.name])
            .read()
            .with_context(|| format!("making region {}", region.name))?;
    }
    Ok(())
}

/// A join token for a node that has no identity yet.
pub fn ensure_join_token(plan: &Plan, region: &Region, role: &str) -> Result<()> {
    if region.data(role).join("identity.json").exists() {
        return Ok(());
    }
    admin(
        plan,
        &[
            "join-token",
            "--region",
            region.name,
            "--role",
            role,
            "--out",
        ],
    )
    .arg(node::join_token_file(plan, region, role))
    .read()
    .with_context(|| format!("making a join token for {}", region.process(role)))
    .map(drop)
}
