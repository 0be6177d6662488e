//! The agent as a process, as a supervisor starts it.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use testkit::wait::until_some;

use super::{
    super::{
        outside::ADDRESS,
        process::{PATIENCE, Process, spawn},
    },
    control_plane::ControlPlane,
};

const METRICS: &str = "127.0.0.1:9101";
const INTERRUPTIONS: &str = "railhead_link_feed_interruptions_total";

pub struct Agent {
    process: Process,
    /// Its configuration, and where its output goes.
    files: [PathBuf; 2],
    /// What it keeps on disk.
    pub state_dir: PathBuf,
    http: reqwest::Client,
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Nobody waits for the end of what it has under way.
        let _ = self.process.0.kill();
    }
}

fn run([config, log]: &[PathBuf; 2]) -> Process {
    let arguments = ["--config", config.to_str().unwrap()];
    spawn(env!("CARGO_BIN_EXE_agent"), &arguments, log)
}

impl Agent {
    /// In a network of its own: no port is taken.
    pub fn start(folder: &Path, control_plane: &ControlPlane, socket: &Path) -> Self {
        let state_dir = folder.join("state");
        let (token, file) = (folder.join("token"), folder.join("agent.toml"));
        std::fs::write(&token, control_plane.token()).unwrap();
        let config = format!(
            r#"
            control_plane = "https://{}"
            name = "us-east-1"
            state_dir = "{}"
            join_token_file = "{}"
            address = "{ADDRESS}"
            listen = "127.0.0.1:7444"
            listen_metrics = "{METRICS}"
            [capacity]
            cpu = 1.0
            memory = "1Gi"
            [docker]
            socket = "{}"
            "#,
            control_plane.address,
            state_dir.display(),
            token.display(),
            socket.display(),
        );
        std::fs::write(&file, config).unwrap();
        let files = [file, folder.join("agent.log")];
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(5))
            .build();
        Self {
            process: run(&files),
            files,
            state_dir,
            http: http.unwrap(),
        }
    }

    /// Of its process.
    pub fn pid(&self) -> u32 {
        self.process.0.id()
    }

    /// As by a crash.
    pub fn kill(&mut self) {
        self.process.0.kill().unwrap();
        self.process.0.wait().unwrap();
    }

    /// As its supervisor does it.
    pub fn start_again(&mut self) {
        self.process = run(&self.files);
    }

    /// It has not ended, and answers; or what is amiss.
    pub async fn lives(&mut self) -> Result<(), String> {
        if let Some(status) = self.process.0.try_wait().unwrap() {
            return Err(format!("it ended: {status}"));
        }
        match self.get("/healthz").await.as_str() {
            "ok\n" => Ok(()),
            answer => Err(format!("it says of its health: {answer}")),
        }
    }

    /// Of the operators' endpoint, which comes up a moment after the process.
    pub async fn get(&self, path: &str) -> String {
        let url = format!("http://{METRICS}{path}");
        let look = async || self.http.get(&url).send().await.ok();
        let answer = until_some(PATIENCE, look).await;
        answer.text().await.unwrap()
    }

    /// How often what its feed sent was refused, or the feed broke off.
    pub async fn interruptions(&self) -> usize {
        let metrics = self.get("/metrics").await;
        let line = metrics.lines().find(|line| line.starts_with(INTERRUPTIONS));
        let count = line.and_then(|line| line.rsplit(' ').next()?.parse().ok());
        count.unwrap_or_else(|| panic!("no {INTERRUPTIONS}: {metrics}"))
    }
}
