//! A deployment's steps on the screen: finished ones as lines, the current one as a moving line
//! with what it waits for.

use std::{collections::BTreeSet, time::Duration};

use api::{
    deployment::{Deployment, DeploymentState},
    log::LogRecord,
    service::Service,
};
use chrono::Utc;
use serde_json::json;

use crate::{
    error::Result,
    output::{Moving, Output, age, span},
};

/// Steps that had nothing to do are passed over.
const WORTH_TELLING: Duration = Duration::from_millis(50);

/// What was shown so far.
pub struct Progress {
    output: Output,
    line: Moving,
    steps_shown: usize,
    reasons_shown: BTreeSet<String>,
    regions: String,
}

impl Progress {
    /// Nothing yet.
    pub fn new(output: Output) -> Self {
        Self {
            output,
            line: Moving::spinner(output.moves),
            steps_shown: 0,
            reasons_shown: BTreeSet::new(),
            regions: String::new(),
        }
    }

    /// A line of the build.
    pub fn log(&self, record: &LogRecord) -> Result {
        if self.output.json {
            return self.output.record(record);
        }
        let text = match record {
            LogRecord::Line(line) => self.output.foreign(&line.text),
            LogRecord::Gap { dropped, .. } => format!("… {dropped} lines were lost here"),
            LogRecord::Idle => return Ok(()),
        };
        self.line.aside(|| self.output.note(&text))
    }

    /// The steps that are new.
    pub fn show(&mut self, deployment: &Deployment) -> Result {
        let first_new = self.steps_shown;
        self.steps_shown = deployment.steps.len();
        if self.output.json {
            for step in deployment.steps.iter().skip(first_new) {
                let record = json!({ "kind": "step", "state": step.state, "at": step.at });
                self.output.record(&record)?;
            }
            return Ok(());
        }
        // A step is told when the next one has begun, so that its length is known.
        let finished = deployment
            .steps
            .windows(2)
            .skip(first_new.saturating_sub(1));
        for pair in finished {
            let [step, next] = pair else { continue };
            let took = (next.at - step.at).to_std().unwrap_or_default();
            let unfinished = next.state.is_end() && next.state != DeploymentState::Live;
            if took < WORTH_TELLING && !unfinished {
                continue;
            }
            self.line.aside(|| {
                if unfinished {
                    let text = format!("{:<10} {}", step.state.as_str(), span(took));
                    self.output.undone(&text)
                } else {
                    let text = format!("{:<10} {}", past(step.state), span(took));
                    self.output.done(&text)
                }
            })?;
        }
        self.say(self.current(deployment));
        Ok(())
    }

    /// What the service is waiting for.
    pub fn service(&mut self, deployment: &Deployment, service: &Service) {
        let regions: Vec<String> = service
            .regions
            .iter()
            .map(|(region, status)| format!("{region} {}/{} ready", status.ready, status.desired))
            .collect();
        self.regions = regions.join(", ");
        self.say(self.current(deployment));
        for (region, reason) in &service.blocked {
            if self.reasons_shown.insert(reason.clone()) {
                let text = format!("{region} is waiting: {reason}");
                // The deployment's own end tells it again if this line gets lost.
                let _ = self.line.aside(|| self.output.note(&text));
            }
        }
    }

    /// What happens now.
    pub fn say(&self, text: String) {
        self.line.say(text);
    }

    fn current(&self, deployment: &Deployment) -> String {
        let since = age(deployment.state_since, Utc::now());
        let regions = match deployment.state {
            DeploymentState::Starting | DeploymentState::Verifying => &self.regions,
            _ => "",
        };
        let separator = if regions.is_empty() { "" } else { " · " };
        format!(
            "{} · {since}{separator}{regions}",
            deployment.state.as_str()
        )
    }
}

const fn past(state: DeploymentState) -> &'static str {
    match state {
        DeploymentState::Queued => "queued",
        DeploymentState::Building => "built",
        DeploymentState::Releasing => "released",
        DeploymentState::Placing => "placed",
        DeploymentState::Starting => "started",
        DeploymentState::Verifying => "verified",
        DeploymentState::Shifting => "shifted",
        DeploymentState::Draining => "drained",
        other => other.as_str(),
    }
}
