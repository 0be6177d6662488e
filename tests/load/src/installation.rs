//! A control plane over databases of its own, as an operator sets one up: schema, keys, an administrator, a
//! region.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result};
use control_plane::Config;
use reqwest::Url;
use sqlx::PgPool;
use tempfile::TempDir;
use testkit::{
    postgres::{Database, template},
    wait::until,
};

use crate::{
    client::Client,
    process::{Process, complete, program},
};

/// Where everything stands.
pub const REGION: &str = "us-east";
const START: Duration = Duration::from_secs(60);

/// One installation; gone when dropped.
pub struct Installation {
    /// As an administrator of the platform.
    pub client: Client,
    /// Where nodes reach it.
    pub node_url: Url,
    /// Health and metrics.
    pub health: SocketAddr,
    /// The database, as a superuser: for seeding and looking.
    pub pool: PgPool,
    /// For configuration and logs of whatever belongs to it.
    pub dir: TempDir,
    config: PathBuf,
    server: Option<Process>,
    _databases: [Database; 2],
}

impl Installation {
    /// Sets it up and starts it; `more` goes into the configuration file.
    pub async fn new(more: &str) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let empty = template("load", "1", async |_: &str| Ok(())).await?;
        let databases = [empty.database().await?, empty.database().await?];
        let [api, node, health] = [free_address()?, free_address()?, free_address()?];
        let config = dir.path().join("control-plane.toml");
        fs::write(dir.path().join("kek"), "07".repeat(32))?;
        fs::write(dir.path().join("password"), "measured, not guessed\n")?;
        let text = configuration(&databases, [api, node, health], &dir, more);
        fs::write(&config, text)?;
        set_up(&config, &dir)?;
        let ca = admin(&config)?.arg("ca").output()?.stdout;
        let token = fs::read_to_string(dir.path().join("token"))?;
        let mut installation = Self {
            client: Client::new(api, &ca, token.trim())?,
            node_url: format!("https://{node}").parse()?,
            health,
            pool: PgPool::connect(&databases[0].superuser_url()).await?,
            dir,
            config,
            server: None,
            _databases: databases,
        };
        installation.start().await?;
        Ok(installation)
    }

    /// What the control plane is told.
    pub fn configuration(&self) -> Result<Config> {
        Ok(Config::load(&self.config)?)
    }

    /// Starts the control plane, and returns when it is ready.
    pub async fn start(&mut self) -> Result<()> {
        let mut command = call(&self.config)?;
        command.arg("serve");
        let log = self.dir.path().join("control-plane.log");
        self.server = Some(Process::start(&mut command, &log)?);
        let ready = format!("http://{}/readyz", self.health);
        until(START, async || {
            let answer = reqwest::get(&ready).await;
            answer.is_ok_and(|answer| answer.status().is_success())
        })
        .await;
        Ok(())
    }

    /// Resident memory of the control plane in MiB.
    pub fn resident_mebibytes(&self) -> Result<f64> {
        let server = self.server.as_ref().context("no control plane runs")?;
        server.resident_mebibytes()
    }

    /// A sum over the control plane's metrics whose names and labels begin so.
    pub async fn metric(&self, series: &str) -> Result<f64> {
        let url = format!("http://{}/metrics", self.health);
        let metrics = reqwest::get(url).await?.error_for_status()?.text().await?;
        let values = metrics.lines().filter_map(|line| {
            let rest = line.strip_prefix(series)?;
            rest.split_whitespace().next_back()?.parse::<f64>().ok()
        });
        Ok(values.sum())
    }

    /// Kills the control plane.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut server) = self.server.take() {
            server.kill()?;
        }
        Ok(())
    }
}

fn configuration(
    databases: &[Database; 2],
    [api, node, health]: [SocketAddr; 3],
    dir: &TempDir,
    more: &str,
) -> String {
    let [platform, logs] = databases;
    format!(
        r#"
        public_url = "https://{api}"
        node_url = "https://{node}"
        platform_domain = "railhead.test"
        listen = "{api}"
        listen_node = "{node}"
        listen_metrics = "{health}"
        [database]
        owner_url = "{}"
        system_url = "{}"
        app_url = "{}"
        logs_url = "{}"
        [keys]
        encryption_key_file = "{}"
        [registry]
        host = "127.0.0.1:5000"
        [limits]
        reads_per_minute = 100000000
        writes_per_minute = 100000000
        {more}
        "#,
        platform.url_as("railhead_owner"),
        platform.url_as("railhead_system"),
        platform.url_as("railhead_app"),
        logs.url_as("railhead_owner"),
        dir.path().join("kek").display(),
    )
}

fn set_up(config: &PathBuf, dir: &TempDir) -> Result<()> {
    complete(call(config)?.arg("migrate")).context("bringing the schema up to date")?;
    let file = |name: &str| dir.path().join(name);
    let mut bootstrap = admin(config)?;
    bootstrap
        .args(["bootstrap", "--organization", "acme"])
        .args(["--email", "admin@railhead.test", "--password-file"])
        .arg(file("password"))
        .arg("--token-file")
        .arg(file("token"));
    complete(&mut bootstrap).context("making the administrator")?;
    complete(admin(config)?.args(["create-region", REGION])).context("making the region")
}

fn call(config: &PathBuf) -> Result<Command> {
    let mut command = program("control-plane")?;
    command.arg("--config").arg(config);
    Ok(command)
}

fn admin(config: &PathBuf) -> Result<Command> {
    let mut command = call(config)?;
    command.arg("admin");
    Ok(command)
}

/// On loopback; nobody listens there.
pub fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?)
}
