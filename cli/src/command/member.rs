//! `member`: who belongs to the organization, and in which role.

use std::path::PathBuf;

use ::api::{
    Role,
    client::Client,
    user::{CreateMember, Member, UpdateMember},
};
use chrono::Utc;
use clap::Subcommand;
use serde_json::json;

use super::find::{self, Resource};
use crate::{
    confirm,
    context::Context,
    error::Result,
    files,
    link::Chosen,
    output::{Cell, Table, since},
    target::Target,
};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the organization's members
    List,
    /// Make a person a member; one who is new to the platform is created
    Add {
        /// The address to sign in with
        email: String,
        /// owner, admin, developer or viewer
        #[arg(long, default_value = "developer")]
        role: Role,
        /// For a new person
        #[arg(long)]
        name: Option<String>,
        /// For a new person: the password, on the first line of this file
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
    /// Change a member's role
    Role {
        /// E-mail address or id
        member: String,
        /// owner, admin, developer or viewer
        role: Role,
    },
    /// End a membership
    Remove {
        /// E-mail address or id
        member: String,
    },
}

pub async fn run(context: &Context, command: Command) -> Result {
    let client = context.client()?;
    let organization = Target::new(context, &client).organization().await?;
    let path = format!("/v1/organizations/{}/users", organization.id);
    match command {
        Command::List => {
            let members: Vec<Member> = client.list(&path).await?;
            context.output.list(&members, table, "nobody is a member")
        }
        Command::Add {
            email,
            role,
            name,
            password_file,
        } => {
            let password = password_file.map(|file| first_line(&file)).transpose()?;
            let body = CreateMember {
                email,
                name,
                password,
                role,
            };
            let member: Member = client.post(&path, &body).await?;
            context.output.done(&format!(
                "{} is {role} of {}",
                member.email, organization.name
            ))?;
            context.output.show(&member, || member.id.to_string())
        }
        Command::Role { member, role } => {
            let member = named(&client, &path, &organization, &member).await?;
            let etag = format!("\"{}\"", member.version);
            let path = format!("{path}/{}", member.id);
            let member: Member = client.patch(&path, &etag, &UpdateMember { role }).await?;
            context.output.done(&format!(
                "{} is {role} of {}",
                member.email, organization.name
            ))?;
            context.output.record_if_json(&member)
        }
        Command::Remove { member } => {
            let member = named(&client, &path, &organization, &member).await?;
            remove(context, &client, &path, &organization, &member).await
        }
    }
}

fn table(members: &[Member]) -> Table {
    Table::of(
        &["E-MAIL", "NAME", "ROLE", "SINCE", "ID"],
        members,
        |member| {
            [
                member.email.as_str().into(),
                member.name.as_str().into(),
                member.role.as_str().into(),
                since(member.created_at, Utc::now()).into(),
                Cell::dim(member.id.to_string()),
            ]
        },
    )
}

async fn named(client: &Client, path: &str, organization: &Chosen, wanted: &str) -> Result<Member> {
    find::by_name_or_id(
        client.list(path).await?,
        "member",
        wanted,
        &organization.name,
    )
}

async fn remove(
    context: &Context,
    client: &Client,
    path: &str,
    organization: &Chosen,
    member: &Member,
) -> Result {
    confirm::destruction(
        context.output,
        "end the membership of",
        &member.email,
        &format!(
            "nothing of {} can be seen or done by them any more",
            organization.name
        ),
    )?;
    client.delete(&format!("{path}/{}", member.id)).await?;
    context.output.done(&format!(
        "{} is no longer a member of {}",
        member.email, organization.name
    ))?;
    context
        .output
        .record_if_json(&json!({ "deleted": member.id }))
}

fn first_line(file: &std::path::Path) -> Result<String> {
    Ok(files::read(file)?
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned())
}

impl Resource for Member {
    fn id(&self) -> String {
        self.id.to_string()
    }

    fn name(&self) -> String {
        self.email.clone()
    }
}
