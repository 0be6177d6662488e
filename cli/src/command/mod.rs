//! One file per command. Each has the command's own options and `run`, which talks to the API and
//! gives the result to [`Output`](crate::output::Output).

mod admin;
mod api;
mod audit;
mod cancel;
mod cert;
mod completion;
mod deletion;
mod deploy;
mod deploy_key;
mod deployment;
mod domain;
mod down;
mod edge;
mod environment;
mod find;
mod init;
mod link;
mod list;
mod login;
mod logout;
mod logs;
mod member;
mod node;
mod open;
mod organization;
mod project;
mod redeploy;
mod region;
mod rollback;
mod rollout;
mod scale;
mod service;
mod status;
mod token;
mod unlink;
mod up;
mod variable;
mod whoami;

use std::path::Path;

use clap::Subcommand;

pub use self::{logs::has_build, status::failed_requests};
use crate::{context::Context, error::Result};

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Sign in to a platform
    Login(login::Arguments),
    /// End the session and forget it
    Logout,
    /// Show who you are, where, and in which organizations
    Whoami,
    /// API tokens for programs
    #[command(subcommand)]
    Token(token::Command),
    /// Make a project and link this folder to it
    Init(init::Arguments),
    /// Link this folder to a project, environment and service
    Link,
    /// Forget what this folder is linked to
    Unlink,
    /// List the organization's projects
    List,
    /// Projects
    #[command(subcommand)]
    Project(project::Command),
    /// Environments of the project
    #[command(subcommand)]
    Environment(environment::Command),
    /// Show what runs, as seen and how long ago
    Status,
    /// Open the service in the browser
    Open(open::Arguments),
    /// Send this folder, build it and put it in place
    Up(up::Arguments),
    /// Build and deploy from git, or deploy an image
    Deploy(deploy::Arguments),
    /// Deploy what serves again, with today's variables; an image's tag is looked up again
    Redeploy(redeploy::Arguments),
    /// Go back to what served before
    Rollback(rollback::Arguments),
    /// Stop a deployment that is under way
    Cancel(cancel::Arguments),
    /// Stop all instances of the service; it stays configured
    Down,
    /// Deployments of the service
    #[command(subcommand)]
    Deployment(deployment::Command),
    /// Services of the environment
    #[command(subcommand)]
    Service(service::Command),
    /// Set the number of instances per region
    Scale(scale::Arguments),
    /// Variables of the service, or shared ones of the environment
    #[command(subcommand)]
    Variable(variable::Command),
    /// Hostnames of the service
    #[command(subcommand)]
    Domain(domain::Command),
    /// Certificates of the service's hostnames
    #[command(subcommand)]
    Cert(cert::Command),
    /// What the edge does with the service's requests
    #[command(subcommand)]
    Edge(edge::Command),
    /// SSH keys that builds fetch private repositories with
    #[command(subcommand)]
    DeployKey(deploy_key::Command),
    /// Show what the service or its build writes
    Logs(logs::Arguments),
    /// Organizations
    #[command(subcommand)]
    Organization(organization::Command),
    /// Members of the organization
    #[command(subcommand)]
    Member(member::Command),
    /// Who did what
    #[command(subcommand)]
    Audit(audit::Command),
    /// Regions of the platform
    #[command(subcommand)]
    Region(region::Command),
    /// Nodes of the platform
    #[command(subcommand)]
    Node(node::Command),
    /// How far a change of the platform itself has come among its edges
    #[command(subcommand)]
    Rollout(rollout::Command),
    /// How the platform itself fares
    #[command(subcommand)]
    Admin(admin::Command),
    /// Send a request to the API as it is
    Api(api::Arguments),
    /// Print the completion script for a shell
    Completion(completion::Arguments),
}

impl Command {
    /// The folder that the command is about.
    pub fn folder(&self) -> &Path {
        match self {
            Self::Up(arguments) => arguments.folder(),
            _ => Path::new("."),
        }
    }

    /// Whether it was said that nobody watches.
    pub fn is_unattended(&self) -> bool {
        match self {
            Self::Up(arguments) => arguments.is_unattended(),
            _ => false,
        }
    }
}

/// Carries the command out.
pub async fn run(command: Command, context: &Context) -> Result {
    match command {
        Command::Login(arguments) => login::run(context, arguments).await,
        Command::Logout => logout::run(context).await,
        Command::Whoami => whoami::run(context).await,
        Command::Token(command) => token::run(context, command).await,
        Command::Init(arguments) => init::run(context, arguments).await,
        Command::Link => link::run(context).await,
        Command::Unlink => unlink::run(context),
        Command::List => list::run(context).await,
        Command::Project(command) => project::run(context, command).await,
        Command::Environment(command) => environment::run(context, command).await,
        Command::Status => status::run(context).await,
        Command::Open(arguments) => open::run(context, arguments).await,
        Command::Up(arguments) => up::run(context, arguments).await,
        Command::Deploy(arguments) => deploy::run(context, arguments).await,
        Command::Redeploy(arguments) => redeploy::run(context, arguments).await,
        Command::Rollback(arguments) => rollback::run(context, arguments).await,
        Command::Cancel(arguments) => cancel::run(context, arguments).await,
        Command::Down => down::run(context).await,
        Command::Deployment(command) => deployment::run(context, command).await,
        Command::Service(command) => service::run(context, command).await,
        Command::Scale(arguments) => scale::run(context, arguments).await,
        Command::Variable(command) => variable::run(context, command).await,
        Command::Domain(command) => domain::run(context, command).await,
        Command::Cert(command) => cert::run(context, command).await,
        Command::Edge(command) => edge::run(context, command).await,
        Command::DeployKey(command) => deploy_key::run(context, command).await,
        Command::Logs(arguments) => logs::run(context, arguments).await,
        Command::Organization(command) => organization::run(context, command).await,
        Command::Member(command) => member::run(context, command).await,
        Command::Audit(command) => audit::run(context, command).await,
        Command::Region(command) => region::run(context, command).await,
        Command::Node(command) => node::run(context, command).await,
        Command::Rollout(command) => rollout::run(context, command).await,
        Command::Admin(command) => admin::run(context, command).await,
        Command::Api(arguments) => api::run(context, arguments).await,
        Command::Completion(arguments) => completion::run(context, &arguments),
    }
}
