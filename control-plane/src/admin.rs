//! The operator's commands: `control-plane admin …`, run on a machine with the configuration file.
//! What they change is written to the audit log as done by the system.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use api::{join_token::CreateJoinToken, node::NodeRole};
use domain::{id::RegionId, name::Name};

use crate::{
    Config, State,
    app::{self, Action},
    audit::{ActorId, Entry, Source},
    store::{self, tx::Mutation},
};

mod bootstrap;

/// The operator's commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Makes an organization, its first administrator (who also runs the platform) and a token.
    /// Run again it changes nothing.
    Bootstrap(bootstrap::Arguments),
    /// Prints the platform's CA certificate.
    Ca,
    /// Prints the certificates that the registry trusts for tokens.
    RegistryRoot,
    /// Issues a server certificate of the platform's CA, for the registry.
    IssueCertificate(IssueCertificate),
    /// Makes a region, unless it is there.
    CreateRegion {
        /// Such as eu-west.
        name: Name,
    },
    /// Makes a single-use token that lets a machine join as a node.
    JoinToken(JoinToken),
    /// Declares this database the true one after a restore: nodes follow it again.
    Restored,
}

/// Arguments of `issue-certificate`.
#[derive(Debug, Args)]
pub struct IssueCertificate {
    /// DNS name or IP address; may be repeated.
    #[arg(long = "name", required = true)]
    names: Vec<String>,
    /// Gets tls.crt and tls.key.
    #[arg(long)]
    out_dir: PathBuf,
}

/// Arguments of `join-token`.
#[derive(Debug, Args)]
pub struct JoinToken {
    /// Where the node will stand.
    #[arg(long)]
    region: Name,
    /// What it will be.
    #[arg(long)]
    role: Role,
    /// Gets the token; readable by its owner only.
    #[arg(long)]
    out: PathBuf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Role {
    Agent,
    Edge,
}

/// Runs one command.
///
/// # Errors
/// What was tried and what to do.
#[allow(clippy::print_stdout)]
pub async fn run(config: Config, command: Command) -> anyhow::Result<()> {
    let state = State::connect(config)
        .await
        .context("can't start; has `control-plane migrate` been run?")?;
    match command {
        Command::Bootstrap(arguments) => bootstrap::run(&state, arguments).await?,
        Command::Ca => print!("{}", state.keys.authority.pem()),
        Command::RegistryRoot => print!("{}", state.keys.registry.chain_pem),
        Command::IssueCertificate(arguments) => issue_certificate(&state, &arguments)?,
        Command::CreateRegion { name } => create_region(&state, &name).await?,
        Command::JoinToken(arguments) => join_token(&state, arguments).await?,
        Command::Restored => restored(&state).await?,
    }
    Ok(())
}

fn issue_certificate(state: &State, arguments: &IssueCertificate) -> anyhow::Result<()> {
    let issued = state.keys.authority.issue_server(&arguments.names)?;
    fs::create_dir_all(&arguments.out_dir)
        .with_context(|| format!("can't make {}", arguments.out_dir.display()))?;
    write_private(
        &arguments.out_dir.join("tls.crt"),
        issued.chain_pem.as_bytes(),
    )?;
    write_private(
        &arguments.out_dir.join("tls.key"),
        issued.key_pem.as_bytes(),
    )
}

async fn create_region(state: &State, name: &Name) -> anyhow::Result<()> {
    let mut tx = Mutation::platform(&state.pools, None).await?;
    if store::region::find_by_name(&mut tx, name).await?.is_some() {
        return Ok(());
    }
    let region = store::region::insert(&mut tx, RegionId::new(), name).await?;
    tx.commit(did(Action::RegionCreate.as_str(), region.id))
        .await?;
    Ok(())
}

async fn join_token(state: &State, arguments: JoinToken) -> anyhow::Result<()> {
    let request = CreateJoinToken {
        region: arguments.region,
        role: match arguments.role {
            Role::Agent => NodeRole::Agent,
            Role::Edge => NodeRole::Edge,
        },
    };
    let mut tx = Mutation::platform(&state.pools, None).await?;
    let created = app::join_token::issue(state, &mut tx, &request, None).await?;
    tx.commit(did(Action::JoinTokenCreate.as_str(), created.join_token.id))
        .await?;
    write_private(&arguments.out, created.token.as_bytes())
}

async fn restored(state: &State) -> anyhow::Result<()> {
    let mut tx = Mutation::platform(&state.pools, None).await?;
    let epoch = store::epoch::restored(&mut tx).await?;
    let entry = did("platform.restored", "platform").with_detail(json!({ "epoch": epoch.0 }));
    tx.commit(entry).await?;
    Ok(())
}

/// The audit event of something that an operator did on the command line.
fn did(action: &'static str, resource: impl ToString) -> Entry {
    let source = Source {
        actor: ActorId::System,
        address: None,
        request_id: format!("cmd_{}", uuid::Uuid::now_v7().simple()),
    };
    Entry::success(source, action, resource)
}

/// Writes a file that only its owner can read, all of it or nothing.
fn write_private(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let Some(name) = path.file_name() else {
        bail!("{} is no file name", path.display());
    };
    let temporary = path.with_file_name(format!(".{}.new", name.to_string_lossy()));
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().with_context(|| format!("can't write {}", path.display()))
}
