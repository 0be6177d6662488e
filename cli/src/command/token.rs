//! `token`: API tokens for programs. A token's secret is shown once and only on standard output.

use ::api::{
    Role,
    api_token::{ApiToken, CreateApiToken, CreatedApiToken},
    client::Client,
};
use chrono::Utc;
use clap::Subcommand;
use domain::name::Name;
use serde_json::json;

use super::find::{self, Resource};
use crate::{
    confirm,
    context::Context,
    error::Result,
    output::{Cell, Table, Tone, since},
    target::Target,
};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a token; it is shown once
    Create {
        /// What it is for, such as "ci"
        name: Name,
        /// owner, admin, developer or viewer; at most your own
        #[arg(long, default_value = "developer")]
        role: Role,
        /// Days until it ends, 1 to 366
        #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=366))]
        days: u32,
        /// May also run the platform (regions, nodes); for its administrators
        #[arg(long)]
        platform: bool,
    },
    /// List the tokens
    List,
    /// Make a token worthless at once
    Revoke {
        /// Name or id
        token: String,
    },
}

pub async fn run(context: &Context, command: Command) -> Result {
    match command {
        Command::Create {
            name,
            role,
            days,
            platform,
        } => {
            let client = context.client()?;
            let organization = Target::new(context, &client).organization().await?;
            let body = CreateApiToken {
                organization_id: find::id(&organization.id)?,
                name,
                role,
                platform,
                expires_in_days: Some(days),
            };
            create(context, &client, &body, &organization.name).await
        }
        Command::List => list(context).await,
        Command::Revoke { token } => revoke(context, &token).await,
    }
}

async fn create(
    context: &Context,
    client: &Client,
    body: &CreateApiToken,
    organization: &str,
) -> Result {
    let created: CreatedApiToken = client.post("/v1/api-tokens", body).await?;
    let token = &created.api_token;
    context.output.done(&format!(
        "token {} for {organization} as {}, good until {}; it is not shown again:",
        token.name,
        token.role,
        token.expires_at.format("%Y-%m-%d"),
    ))?;
    context.output.show(&created, || created.token.clone())
}

async fn list(context: &Context) -> Result {
    let tokens: Vec<ApiToken> = context.client()?.list("/v1/api-tokens").await?;
    let table =
        |tokens: &[ApiToken]| Table::of(&["NAME", "ROLE", "STATE", "LAST USED", "ID"], tokens, row);
    context.output.list(
        &tokens,
        table,
        "no tokens; make one: railhead token create NAME",
    )
}

fn row(token: &ApiToken) -> [Cell; 5] {
    let now = Utc::now();
    let state = match token.revoked_at {
        Some(at) => Cell::new(format!("revoked {}", since(at, now)), Tone::Bad),
        None if token.expires_at < now => {
            Cell::new(format!("ended {}", since(token.expires_at, now)), Tone::Bad)
        }
        None => Cell::new(format!("ends {}", since(token.expires_at, now)), Tone::Good),
    };
    [
        token.name.as_str().into(),
        role(token).into(),
        state,
        token
            .last_used_at
            .map_or_else(|| "never".to_owned(), |at| since(at, now))
            .into(),
        Cell::dim(token.id.to_string()),
    ]
}

fn role(token: &ApiToken) -> String {
    let platform = if token.platform { " + platform" } else { "" };
    format!("{}{platform}", token.role)
}

async fn revoke(context: &Context, wanted: &str) -> Result {
    let client = context.client()?;
    let tokens: Vec<ApiToken> = client.list("/v1/api-tokens").await?;
    let usable = tokens
        .into_iter()
        .filter(|token| token.revoked_at.is_none());
    let token = find::by_name_or_id(usable.collect(), "token", wanted, "your tokens")?;
    confirm::destruction(
        context.output,
        "revoke the token",
        token.name.as_str(),
        "programs that use it are refused at once",
    )?;
    client
        .delete(&format!("/v1/api-tokens/{}", token.id))
        .await?;
    context.output.done(&format!("revoked {}", token.name))?;
    context
        .output
        .record_if_json(&json!({ "revoked": token.id }))
}

impl Resource for ApiToken {
    fn id(&self) -> String {
        self.id.to_string()
    }

    fn name(&self) -> String {
        self.name.to_string()
    }
}
