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
        let arguments = ["--config", file.to_str().unwrap()];
        let process = spawn(
            env!("CARGO_BIN_EXE_agent"),
            &arguments,
            &folder.join("agent.log"),
        );
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(5))
            .build();
        Self {
            process,
            state_dir,
            http: http.unwrap(),
        }
    }

    /// It has not ended, and answers.
    pub async fn lives(&mut self) {
        let ended = self.process.0.try_wait().unwrap();
        assert!(ended.is_none(), "it ended: {ended:?}");
        assert_eq!(self.get("/healthz").await, "ok\n");
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
