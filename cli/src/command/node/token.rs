//! `node token`: makes what a machine joins with, one single-use token for each of its roles, and shows the command
//! to run there.

use std::collections::BTreeMap;

use ::api::{
    client::Client,
    join_token::{CreateJoinToken, CreatedJoinToken},
    node::NodeRole,
};
use clap::{Args, ValueEnum};
use domain::name::Name;
use protocol::{
    join::Role as Joining,
    join_token::{JoinToken, MachineToken},
};
use serde_json::json;

use crate::{
    context::Context,
    error::{Error, Result},
};

#[derive(Debug, Args)]
pub struct Arguments {
    /// Where the machine stands
    #[arg(long)]
    region: Name,
    /// What it becomes; both unless given
    #[arg(long, value_enum)]
    role: Vec<Role>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Role {
    /// Runs workloads and builds
    Agent,
    /// Carries traffic
    Edge,
}

pub async fn run(context: &Context, client: &Client, arguments: Arguments) -> Result {
    let mut roles = arguments.role;
    if roles.is_empty() {
        roles = vec![Role::Agent, Role::Edge];
    }
    let mut made = BTreeMap::new();
    for role in roles {
        let body = CreateJoinToken {
            region: arguments.region.clone(),
            role: role.into(),
        };
        let created: CreatedJoinToken = client.post("/v1/join-tokens", &body).await?;
        made.insert(role.into(), created);
    }
    let token = machine_token(&made)?;
    let command = format!("railhead node join {token}");
    let expires = made
        .values()
        .map(|created| created.join_token.expires_at)
        .min();
    let expires = expires.unwrap_or_default().format("%H:%M");
    context.output.done(&format!(
        "one machine may join {} until {expires} UTC; run this there, as root (it is not shown again):",
        arguments.region
    ))?;
    let tokens: Vec<_> = made.values().collect();
    context.output.show(
        &json!({ "command": command, "token": token.to_string(), "tokens": tokens }),
        || command.clone(),
    )
}

fn machine_token(made: &BTreeMap<Joining, CreatedJoinToken>) -> Result<MachineToken> {
    let unusable = |message: String| Error::Failed {
        message,
        code: None,
        advice: "update the control plane to the release of this railhead".to_owned(),
    };
    let control_plane = made
        .values()
        .find_map(|created| created.control_plane.clone());
    let control_plane = control_plane
        .ok_or_else(|| unusable("the control plane does not say where nodes connect to".into()))?;
    let mut tokens = BTreeMap::new();
    for (role, created) in made {
        let token = created.token.parse::<JoinToken>();
        tokens.insert(*role, token.map_err(|error| unusable(error.to_string()))?);
    }
    MachineToken::new(&control_plane, &tokens).map_err(|error| unusable(error.to_string()))
}

impl From<Role> for NodeRole {
    fn from(role: Role) -> Self {
        match role {
            Role::Agent => Self::Agent,
            Role::Edge => Self::Edge,
        }
    }
}

impl From<Role> for Joining {
    fn from(role: Role) -> Self {
        match role {
            Role::Agent => Self::Agent,
            Role::Edge => Self::Edge,
        }
    }
}
