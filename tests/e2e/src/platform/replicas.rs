//! The control plane's replicas: which of them works, and taking one away.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::Platform;
use crate::wait;

/// The processes of two; a platform may have more ([`Platform::control_planes`]).
pub const CONTROL_PLANES: [&str; 2] = ["control-plane-1", "control-plane-2"];

const GONE_WITHIN: Duration = Duration::from_secs(40);
const LAST_TURN: &str = r#"railhead_reconcile_last_success_timestamp_seconds{task="deployments"}"#;

impl Platform {
    /// The processes of all of them.
    pub fn control_planes(&self) -> Vec<String> {
        self.status.control_planes.keys().cloned().collect()
    }

    /// The replica that moves deployments at the moment: the one that did so last.
    pub async fn working_control_plane(&self) -> Result<String> {
        let mut newest = None;
        for name in self.control_planes() {
            let turn = self.last_turn(&name).await?;
            if newest.as_ref().is_none_or(|(_, last)| turn > *last) {
                newest = Some((name, turn));
            }
        }
        newest.map(|(name, _)| name).context("no control plane")
    }

    /// When a replica last moved deployments, since 1970.
    pub async fn last_turn(&self, control_plane: &str) -> Result<Duration> {
        let seconds = self.metric_of(control_plane, LAST_TURN).await?;
        Ok(Duration::try_from_secs_f64(seconds)?)
    }

    /// How often what a replica had decided was refused, as another had gone on.
    pub async fn refused_writes(&self, control_plane: &str, task: &str) -> Result<f64> {
        let metric = format!(r#"railhead_reconcile_refused_total{{task="{task}"}}"#);
        self.metric_of(control_plane, &metric).await
    }

    /// How many turns of a reconciler have ended with an error.
    pub async fn failed_turns(&self, control_plane: &str, task: &str) -> Result<f64> {
        let metric =
            format!(r#"railhead_reconcile_turns_total{{outcome="failure",task="{task}"}}"#);
        self.metric_of(control_plane, &metric).await
    }

    /// 0 before it was first set.
    async fn metric_of(&self, control_plane: &str, metric: &str) -> Result<f64> {
        let metrics = self.metrics_of(control_plane).await?;
        let value = metrics.lines().find_map(|line| line.strip_prefix(metric));
        Ok(value.map_or(Ok(0.0), |value| value.trim().parse())?)
    }

    /// What a control plane says of itself to Prometheus.
    pub async fn metrics_of(&self, control_plane: &str) -> Result<String> {
        let url = self.status.control_planes.get(control_plane);
        let url = url.with_context(|| format!("no {control_plane}"))?;
        let answer = reqwest::get(format!("{url}/metrics")).await?;
        Ok(answer.error_for_status()?.text().await?)
    }

    /// Sends a process a signal; its id.
    pub async fn signal(&self, name: &str, signal: Signal) -> Result<i32> {
        let process = self.process(name).await?;
        let pid = process
            .pid
            .with_context(|| format!("{name} is not running"))?;
        kill(Pid::from_raw(pid), signal)?;
        Ok(pid)
    }

    /// `kill -9`, and keeps it down; it is gone when this returns. Stopped first: the supervisor must neither end it
    /// in good order nor start it again.
    pub async fn kill_and_hold(&self, name: &str) -> Result<()> {
        let pid = Pid::from_raw(self.signal(name, Signal::SIGSTOP).await?);
        self.hold(name, true).await?;
        kill(pid, Signal::SIGKILL)?;
        self.gone(name).await
    }

    /// Waits until the supervisor has seen that it has ended: before, it takes it for ready.
    pub async fn gone(&self, name: &str) -> Result<()> {
        wait::outcome(GONE_WITHIN, || async {
            let process = self.process(name).await?;
            ensure!(process.pid.is_none(), "{name} still runs");
            Ok(())
        })
        .await
    }

    /// Lets it run again and waits until it is ready.
    pub async fn bring_back(&self, name: &str) -> Result<()> {
        self.hold(name, false).await?;
        self.wait_ready(name, None).await;
        Ok(())
    }
}
