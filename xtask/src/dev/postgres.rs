//! A private PostgreSQL cluster: own data, own port on loopback, own socket. It runs as the system's
//! `postgres` user, because PostgreSQL refuses root.

use std::{
    fs,
    os::unix::fs::chown,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use nix::unistd::User;

use super::{
    plan::Plan,
    process::{Process, StopSignal, as_user},
    secrets,
};
use crate::command::{CommandExt as _, command};

const USER: &str = "postgres";

/// A cluster on this machine.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// Its data.
    pub data: PathBuf,
    /// Its socket's folder.
    pub socket: PathBuf,
    /// On loopback.
    pub port: u16,
    /// Off for clusters that live as long as a test run.
    pub durable: bool,
}

/// Roles that the platform's schema expects, and whether row-level security holds for them.
const ROLES: [(&str, &str); 4] = [
    ("railhead_owner", "bypassrls"),
    ("railhead_system", "bypassrls"),
    ("railhead_app", "nobypassrls"),
    ("railhead_logs", "nobypassrls"),
];

const DATABASES: [(&str, &str); 2] = [
    ("railhead", "railhead_owner"),
    ("railhead_logs", "railhead_logs"),
];

impl Cluster {
    /// The platform's own.
    pub fn of(plan: &Plan) -> Self {
        Self {
            data: plan.data().join("postgres"),
            socket: plan.run().join("postgres"),
            port: plan.postgres_port(),
            durable: true,
        }
    }

    /// Makes the cluster unless it is there.
    pub fn ensure(&self) -> Result<()> {
        make_owned(&self.socket)?;
        if self.data.join("PG_VERSION").exists() {
            return Ok(());
        }
        let folder = self.data.parent().context("a cluster without a folder")?;
        fs::create_dir_all(folder)?;
        let draft = self.data.with_extension("new");
        make_owned(&draft)?;
        let mut initdb = command(as_user(USER));
        initdb
            .arg(program("initdb")?)
            .args([
                "--auth-local=peer",
                &format!("--auth-host={}", self.authentication()),
                "--encoding=UTF8",
                "--locale=C.UTF-8",
            ])
            .arg("--no-instructions")
            .arg("--pgdata")
            .arg(&draft);
        if !self.durable {
            initdb.arg("--no-sync");
        }
        initdb
            .current_dir("/")
            .read()
            .context("making the PostgreSQL cluster")?;
        fs::rename(&draft, &self.data).with_context(|| format!("making {}", self.data.display()))
    }

    /// A test run connects thousands of times: the client's half of SCRAM, unoptimised, was half of a
    /// test's processor time. The password does not leave loopback.
    fn authentication(&self) -> &'static str {
        if self.durable {
            "scram-sha-256"
        } else {
            "password"
        }
    }

    /// The server.
    pub fn process(&self) -> Result<Process> {
        let mut argv = vec![
            program("postgres")?.display().to_string(),
            "-D".to_owned(),
            self.data.display().to_string(),
        ];
        for setting in self.settings() {
            argv.extend(["-c".to_owned(), setting]);
        }
        let mut process = Process::new("postgres", 10, argv);
        process.user = Some(USER.to_owned());
        process.stop_signal = StopSignal::Interrupt;
        process.stop_timeout_seconds = 30;
        Ok(process)
    }

    fn settings(&self) -> Vec<String> {
        let mut settings = vec![
            "listen_addresses=127.0.0.1".to_owned(),
            format!("port={}", self.port),
            format!("unix_socket_directories={}", self.socket.display()),
            "max_connections=200".to_owned(),
            "log_min_messages=warning".to_owned(),
        ];
        if !self.durable {
            settings.extend(
                [
                    "fsync=off",
                    "synchronous_commit=off",
                    "full_page_writes=off",
                ]
                .map(str::to_owned),
            );
        }
        settings
    }

    /// Runs SQL as the superuser, over the socket.
    pub fn sql(&self, database: &str, statements: &str) -> Result<String> {
        command(as_user(USER))
            .args([
                "psql",
                "--no-psqlrc",
                "--quiet",
                "--tuples-only",
                "--no-align",
                "--set=ON_ERROR_STOP=1",
            ])
            .arg("--host")
            .arg(&self.socket)
            .args(["--port", &self.port.to_string(), "--dbname", database])
            .current_dir("/")
            .read_with(statements)
            .context("asking PostgreSQL")
    }
}

/// Makes the roles and databases of the platform.
pub fn ensure_databases(plan: &Plan, cluster: &Cluster) -> Result<()> {
    let mut statements = String::new();
    for (role, row_security) in ROLES {
        let password = secrets::ensure(plan, &format!("{role}.password"))?;
        statements += &format!(
            "select 'create role {role}' where not exists (select from pg_roles where rolname = '{role}') \\gexec\n\
             alter role {role} login {row_security} password '{password}';\n"
        );
    }
    for (database, owner) in DATABASES {
        statements += &format!(
            "select 'create database {database} owner {owner}' \
             where not exists (select from pg_database where datname = '{database}') \\gexec\n"
        );
    }
    cluster.sql("postgres", &statements).map(drop)
}

/// Where a role finds its database.
pub fn url(plan: &Plan, cluster: &Cluster, role: &str, database: &str) -> Result<String> {
    let password = secrets::ensure(plan, &format!("{role}.password"))?;
    Ok(format!(
        "postgres://{role}:{password}@127.0.0.1:{}/{database}",
        cluster.port
    ))
}

/// A folder that belongs to PostgreSQL's user.
fn make_owned(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let user =
        User::from_name(USER)?.context("no user postgres on this system; run ./dev setup")?;
    chown(folder, Some(user.uid.as_raw()), Some(user.gid.as_raw()))
        .with_context(|| format!("giving {} to {USER}", folder.display()))
}

/// A program of the newest PostgreSQL that the distribution installed.
fn program(name: &str) -> Result<PathBuf> {
    let top = Path::new("/usr/lib/postgresql");
    let mut versions: Vec<u32> = fs::read_dir(top)
        .with_context(|| format!("no PostgreSQL in {}; run ./dev setup", top.display()))?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|version| top.join(format!("{version}/bin/{name}")).exists())
        .collect();
    versions.sort_unstable();
    let newest = versions
        .last()
        .with_context(|| format!("PostgreSQL's {name} is missing; run ./dev setup"))?;
    Ok(top.join(format!("{newest}/bin/{name}")))
}
