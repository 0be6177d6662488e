//! When copies of services ran, by the word of the engines themselves: each start and each end with its moment, so
//! that nothing happens between two looks. All of them have one clock, for they are on one machine.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use chrono::{DateTime, Utc};
use reqwest::Url;
use serde_json::{Value, json};

use crate::engine::{self, OURS};

/// The engine of a node's workloads.
#[derive(Debug, Clone)]
pub struct Engine {
    /// Such as `us-east-2`.
    pub node: String,
    /// Where it is asked.
    pub socket: PathBuf,
}

/// One run of a copy, from its start to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// What it is a copy of.
    pub service: String,
    /// Which copy.
    pub instance: String,
    /// Where.
    pub node: String,
    /// Since when, or since it was watched.
    pub began: DateTime<Utc>,
    /// It has ended.
    pub ended: Option<DateTime<Utc>>,
}

/// Engines that are watched.
pub struct Watch {
    engines: Vec<Engine>,
    since: DateTime<Utc>,
    running: Vec<Run>,
}

impl Watch {
    /// From now on.
    pub async fn begin(engines: Vec<Engine>) -> Result<Self> {
        let since = Utc::now();
        let mut running = Vec::new();
        for engine in &engines {
            let path = format!("/containers/json?filters={OURS}");
            for container in engine::get(&engine.socket, &path).await? {
                running.push(run(engine, &container["Labels"], since));
            }
        }
        Ok(Self {
            engines,
            since,
            running,
        })
    }

    /// What has run since.
    pub async fn runs(&self) -> Result<Vec<Run>> {
        let mut runs = self.running.clone();
        for engine in &self.engines {
            let text = engine::text(&engine.socket, &self.events_so_far()?).await?;
            for line in text.lines() {
                let event: Value = serde_json::from_str(line)
                    .with_context(|| format!("reading what {} tells", engine.node))?;
                happen(&mut runs, engine, &event)?;
            }
        }
        Ok(runs)
    }

    /// An engine remembers its last 256 events.
    fn events_so_far(&self) -> Result<String> {
        let filters = json!({
            "type": ["container"], "event": ["start", "die"], "label": ["railhead.instance"],
        });
        let moments = [("since", self.since), ("until", Utc::now())];
        let moments = moments.map(|(name, at)| (name, at.format("%s.%f").to_string()));
        let url = Url::parse_with_params("http://engine/events", moments)?;
        let url = Url::parse_with_params(url.as_str(), [("filters", filters.to_string())])?;
        let query = url.query().context("a query")?;
        Ok(format!("{}?{query}", url.path()))
    }
}

fn run(engine: &Engine, labels: &Value, began: DateTime<Utc>) -> Run {
    let label = |name: &str| labels[name].as_str().unwrap_or_default().to_owned();
    Run {
        service: label("railhead.service"),
        instance: label("railhead.instance"),
        node: engine.node.clone(),
        began,
        ended: None,
    }
}

/// One event more. A start that the first look has seen already is no second one.
fn happen(runs: &mut Vec<Run>, engine: &Engine, event: &Value) -> Result<()> {
    let nanoseconds = event["timeNano"].as_i64().context("an event has a time")?;
    let at = DateTime::from_timestamp_nanos(nanoseconds);
    let new = run(engine, &event["Actor"]["Attributes"], at);
    let same = |one: &&mut Run| one.instance == new.instance && one.node == new.node;
    let going_on = runs.iter_mut().filter(same).find(|one| one.ended.is_none());
    match (event["Action"].as_str(), going_on) {
        (Some("start"), None) => runs.push(new),
        (Some("die"), Some(run)) => run.ended = Some(at),
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(action: &str, instance: &str, second: i64) -> Value {
        json!({
            "Action": action,
            "timeNano": second * 1_000_000_000,
            "Actor": { "Attributes": { "railhead.instance": instance, "railhead.service": "svc_1" } },
        })
    }

    #[test]
    fn starts_and_ends_become_runs() {
        let engine = Engine {
            node: "us-east-2".to_owned(),
            socket: PathBuf::new(),
        };
        let mut runs = Vec::new();
        for event in [
            event("start", "ins_1", 10),
            // Told once more.
            event("start", "ins_1", 10),
            event("die", "ins_1", 12),
            // In place.
            event("start", "ins_1", 13),
            event("die", "ins_2", 14),
        ] {
            happen(&mut runs, &engine, &event).unwrap();
        }
        let seconds = |run: &Run| (run.began.timestamp(), run.ended.map(|at| at.timestamp()));
        let all: Vec<_> = runs.iter().map(seconds).collect();
        assert_eq!(all, [(10, Some(12)), (13, None)]);
        assert_eq!(runs[1].service, "svc_1");
    }
}
