//! `railhead node join TOKEN`: makes this machine a node, as systemd units. Looks first (requirements, the token, the
//! machine), plans purely, and then makes it so step by step; run again it changes nothing.

mod build_network;
mod choices;
mod config;
mod error;
mod former;
mod host;
mod layout;
mod leave;
mod options;
mod paths;
mod plan;
mod platform;
mod probe;
mod renewals;
mod requirements;
#[cfg(test)]
mod samples;
mod steps;
mod system;
mod unit;

use std::{fs, io, time::Instant};

use protocol::join::{JoinedNode, Role};
use serde_json::{Value, json};

use self::{
    error::{Error, Result},
    plan::Plan,
    platform::{Platform, Wanted},
};
pub use self::{leave::leave, options::Options};
use crate::output::Output;

/// Makes this machine a node, or shows what that would take.
pub async fn join(output: Output, options: &Options) -> crate::error::Result {
    let wanted = Wanted::of(&token(options)?, options)?;
    requirements::check(&wanted, options)?;
    let binaries = requirements::binaries(&wanted, options)?;
    if wanted.has_agent() {
        requirements::check_docker()?;
    }
    let mut platform = Platform::look_up(wanted).await?;
    let host = probe::host(&platform)?;
    platform.check(&host.identities)?;
    let plan = plan::plan(&host, &platform, options, &binaries)?;
    if options.dry_run {
        return show(output, &plan);
    }
    let changed = tokio::task::block_in_place(|| make_so(output, &plan))?;
    platform.wait_ready(&plan.joining).await?;
    forget_tokens(&plan)?;
    tell(output, &plan, &platform, &changed)
}

fn token(options: &Options) -> Result<String> {
    if options.token != "-" {
        return Ok(options.token.clone());
    }
    io::read_to_string(io::stdin()).map_err(Error::file("read", "standard input"))
}

/// Says what is being done and how long that took, as it happens.
fn make_so(output: Output, plan: &Plan) -> crate::error::Result<Vec<String>> {
    let begun = Instant::now();
    let changed = steps::apply(plan, |step| {
        // A closed standard error must not leave a machine half done.
        let _ = output.note(&format!("{:>6.1} s  {step}", begun.elapsed().as_secs_f64()));
    })?;
    Ok(changed)
}

/// They are used up.
fn forget_tokens(plan: &Plan) -> Result {
    for role in &plan.joining {
        let path = paths::token_file(role.as_str());
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::file("remove", path)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

fn show(output: Output, plan: &Plan) -> crate::error::Result {
    let mut lines = Vec::new();
    for step in steps::of(plan) {
        let mark = if step.is_done()? { "=" } else { "+" };
        lines.push(format!("{mark} {step}"));
    }
    output.show(plan, || lines.join("\n"))?;
    output.note("+ would be made or changed, = is so already; nothing was done")
}

fn tell(
    output: Output,
    plan: &Plan,
    platform: &Platform,
    changed: &[String],
) -> crate::error::Result {
    let choices = &plan.choices;
    let what = match changed {
        [] => "nothing to do: this machine is".to_owned(),
        changed => format!("{} changes made: this machine is now", changed.len()),
    };
    let nodes: Vec<Value> = platform
        .nodes
        .iter()
        .map(|(role, node)| shown(*role, node))
        .collect();
    output.done(&format!(
        "{what} {} of {} at {}, with {} cores and {} for workloads",
        choices.name, platform.region, choices.address, choices.cpu, choices.memory
    ))?;
    output.record_if_json(&json!({
        "name": choices.name,
        "region": platform.region,
        "address": choices.address,
        "capacity": { "cpu": choices.cpu, "memory": choices.memory },
        "nodes": nodes,
        "changed": changed,
    }))
}

fn shown(role: Role, node: &JoinedNode) -> Value {
    json!({ "role": role, "id": node.id, "name": node.name, "ready": node.ready })
}
