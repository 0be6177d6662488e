//! What the control plane makes once and others need as files: the platform's CA, the registry's
//! certificate, the roots of registry tokens.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result};

use super::{control_plane::admin, engine, plan::Plan, process::write_whole, registry};
use crate::command::CommandExt as _;

/// Writes what is missing or changed.
pub fn ensure(plan: &Plan) -> Result<()> {
    let ca = admin(plan, &["ca"])
        .read()
        .context("reading the platform's CA")?;
    if fs::read_to_string(plan.ca_file()).is_ok_and(|last| last == ca)
        && registry_certificate(plan).exists()
    {
        return Ok(());
    }
    engine::write_ca_bundle(plan, &ca)?;
    issue_registry_certificate(plan)?;
    let roots = admin(plan, &["registry-root"])
        .read()
        .context("reading the roots of registry tokens")?;
    write_whole(&plan.data().join("registry-token-roots.pem"), &roots)?;
    write_whole(&plan.ca_file(), &ca)
}

fn registry_certificate(plan: &Plan) -> PathBuf {
    plan.data().join(registry::CERTIFICATES).join("tls.crt")
}

fn issue_registry_certificate(plan: &Plan) -> Result<()> {
    let folder = plan.data().join(registry::CERTIFICATES);
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    admin(
        plan,
        &[
            "issue-certificate",
            "--name",
            &registry::certificate_name(plan),
            "--out-dir",
        ],
    )
    .arg(&folder)
    .read()
    .context("issuing the registry's certificate")
    .map(drop)
}
