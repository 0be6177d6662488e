//! An edge's process, looked at from outside: its metrics, its answers, its memory.

use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use reqwest::header::HOST;
use tokio::time::sleep;

use crate::{
    installation::{Installation, REGION, free_address},
    process::{Process, program},
};

const LOOK: Duration = Duration::from_millis(5);
const STARTED: Duration = Duration::from_secs(60);

/// A joined edge.
pub struct Edge {
    process: Process,
    config: PathBuf,
    http: SocketAddr,
    metrics: SocketAddr,
    client: reqwest::Client,
}

impl Edge {
    /// Joins and starts to follow.
    pub async fn join(installation: &Installation, name: &str) -> Result<Self> {
        let dir = installation.dir.path().join(name);
        fs::create_dir(&dir)?;
        let token = installation.client.join_token(REGION, "edge").await?;
        fs::write(dir.join("token"), token)?;
        let [http, https, forward, metrics] = [
            free_address()?,
            free_address()?,
            free_address()?,
            free_address()?,
        ];
        let config = dir.join("edge.toml");
        let text = format!(
            r#"
            control_plane = "{}"
            name = "{name}"
            state_dir = "{}"
            join_token_file = "{}"
            listen_http = "{http}"
            listen_https = "{https}"
            listen_forward = "{forward}"
            listen_metrics = "{metrics}"
            access_log = "{}"
            "#,
            installation.node_url,
            dir.join("state").display(),
            dir.join("token").display(),
            dir.join("access.log").display(),
        );
        fs::write(&config, text)?;
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self {
            process: start(&config)?,
            config,
            http,
            metrics,
            client,
        })
    }

    /// Waits until that many hostnames are routed.
    pub async fn has_hostnames(&self, count: usize, within: Duration) -> Result<Instant> {
        self.routes("hostnames", count, within).await
    }

    /// Waits until that many endpoints are routed; when that was.
    pub async fn endpoints(&self, count: usize, within: Duration) -> Result<Instant> {
        self.routes("endpoints", count, within).await
    }

    async fn routes(&self, kind: &str, count: usize, within: Duration) -> Result<Instant> {
        let line = format!("railhead_edge_routes{{kind=\"{kind}\"}} {count}");
        let url = format!("http://{}/metrics", self.metrics);
        let begun = Instant::now();
        loop {
            let answer = self.client.get(&url).send().await;
            if let Ok(answer) = answer
                && answer.text().await?.lines().any(|found| found == line)
            {
                return Ok(Instant::now());
            }
            ensure!(begun.elapsed() < within, "an edge has not {count} {kind}");
            sleep(LOOK).await;
        }
    }

    /// Kills it and starts it again; the time from the start to the first answer for a routed name.
    pub async fn restart(&mut self, hostname: &str) -> Result<Duration> {
        self.process.kill()?;
        let begun = Instant::now();
        self.process = start(&self.config)?;
        let url = format!("http://{}/", self.http);
        loop {
            let request = self.client.get(&url).header(HOST, hostname);
            // A routed name is redirected to HTTPS, an unknown one is not found.
            if let Ok(answer) = request.send().await
                && answer.status().is_redirection()
            {
                return Ok(begun.elapsed());
            }
            ensure!(begun.elapsed() < STARTED, "an edge does not answer");
            sleep(LOOK).await;
        }
    }

    /// Resident memory in MiB.
    pub fn resident_mebibytes(&self) -> Result<f64> {
        self.process.resident_mebibytes()
    }
}

fn start(config: &PathBuf) -> Result<Process> {
    let mut command = program("edge-proxy")?;
    command.arg("--config").arg(config);
    let log = config.with_extension("log");
    Process::start(&mut command, &log).context("starting an edge")
}
