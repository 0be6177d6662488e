//! A deployment's steps on the screen: finished ones as lines, the current one as a moving line
//! with what it waits for. That it serves is told as soon as it does: what is left then is old.

use std::{collections::BTreeSet, time::Duration};

use api::{
    deployment::{Deployment, DeploymentState, DeploymentStep},
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

/// The platform's word for old instances that an edge may still use.
const KEPT_FOR_LATE_EDGES: &str = "old_instances_kept";

/// What was shown so far.
pub struct Progress {
    output: Output,
    line: Moving,
    steps_shown: usize,
    reasons_shown: BTreeSet<String>,
    waits_for: Option<String>,
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
            waits_for: None,
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

    /// The steps that are new, and what the current one waits for.
    pub fn show(&mut self, deployment: &Deployment) -> Result {
        let first_new = self.steps_shown;
        self.steps_shown = deployment.steps.len();
        if self.output.json {
            for step in deployment.steps.iter().skip(first_new) {
                let record = json!({ "kind": "step", "state": step.state, "at": step.at });
                self.output.record(&record)?;
            }
            return self.waiting(deployment);
        }
        // A step is told when the next one has begun, so that its length is known.
        let finished = deployment
            .steps
            .windows(2)
            .skip(first_new.saturating_sub(1));
        for pair in finished {
            let [step, next] = pair else { continue };
            self.finished(step, next)?;
            if next.state == DeploymentState::Draining {
                self.serves(deployment, next)?;
            }
        }
        self.waiting(deployment)?;
        self.say(self.current(deployment));
        Ok(())
    }

    fn finished(&self, step: &DeploymentStep, next: &DeploymentStep) -> Result {
        let took = (next.at - step.at).to_std().unwrap_or_default();
        let unfinished = next.state.is_final() && next.state != DeploymentState::Live;
        if took < WORTH_TELLING && !unfinished {
            return Ok(());
        }
        self.line.aside(|| {
            if unfinished {
                let text = format!("{:<10} {}", step.state.as_str(), span(took));
                self.output.undone(&text)
            } else {
                let text = format!("{:<10} {}", past(step.state), span(took));
                self.output.done(&text)
            }
        })
    }

    /// Every edge that can be waited for has the new routes.
    fn serves(&self, deployment: &Deployment, since: &DeploymentStep) -> Result {
        let took = (since.at - deployment.created_at).to_std();
        let took = span(took.unwrap_or_default());
        let late = deployment
            .error
            .as_ref()
            .is_some_and(|error| error.code == KEPT_FOR_LATE_EDGES);
        let edges = if late {
            "every edge but late ones"
        } else {
            "every edge"
        };
        self.line.aside(|| {
            self.output
                .done(&format!("serving at {edges} after {took}"))
        })
    }

    /// For programs every reason to wait; for people without a moving line those old instances.
    fn waiting(&mut self, deployment: &Deployment) -> Result {
        let Some(reason) = &deployment.error else {
            return Ok(());
        };
        let is_new = self.waits_for.as_deref() != Some(&reason.message);
        if deployment.state.is_final() || !is_new {
            return Ok(());
        }
        self.waits_for = Some(reason.message.clone());
        if self.output.json {
            let (state, code, message) = (deployment.state, &reason.code, &reason.message);
            let record =
                json!({ "kind": "waiting", "state": state, "code": code, "message": message });
            self.output.record(&record)
        } else if deployment.state == DeploymentState::Draining && !self.output.moves {
            self.output.note(&reason.message)
        } else {
            Ok(())
        }
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
        let detail = match deployment.state {
            DeploymentState::Starting | DeploymentState::Verifying => self.regions.as_str(),
            DeploymentState::Draining => self.waits_for.as_deref().unwrap_or_default(),
            _ => "",
        };
        let separator = if detail.is_empty() { "" } else { " · " };
        format!("{} · {since}{separator}{detail}", deployment.state.as_str())
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
