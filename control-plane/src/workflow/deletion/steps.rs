//! What each step looks at and does. Each may be done again at any time.

use chrono::TimeDelta;
use domain::{deployment::acknowledgement::is_unused, id::JobId};
use protocol::feed::DropCause;
use serde::{Deserialize, Serialize};

use super::Subject;
use crate::{
    jobs::{self, DeleteImages},
    reconcile::{orphans, routes},
    store::{
        self, deletion, evaluation, job, orphan, placement,
        route::{self, Positions},
    },
    waker::Topic,
    workflow::{Attempt, Error, Progress},
};

/// Edges that are late are waited for this long.
const LATE_EDGES: TimeDelta = TimeDelta::minutes(10);

/// Deployments, releases and builds that are removed at a time.
const HISTORY: i64 = 5_000;

/// What steps leave for later ones.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct Found {
    /// From here on no route leads to what is deleted.
    unrouted: Option<Positions>,
    /// These clear the registry and the log store.
    jobs: Option<Vec<JobId>>,
}

impl Attempt {
    fn subject(&self) -> Result<Subject, Error> {
        let subject = self.claim.subject.parse();
        Ok(subject.map_err(|error| store::Error::corrupt("subject of a deletion", error))?)
    }

    fn found(&self) -> Result<Found, Error> {
        let found = Found::deserialize(&self.claim.data);
        Ok(found.map_err(|error| store::Error::corrupt("data of a deletion", error))?)
    }

    fn keep(&mut self, found: &Found) -> Result<(), Error> {
        let data = serde_json::to_value(found);
        self.claim.data =
            data.map_err(|error| store::Error::corrupt("data of a deletion", error))?;
        Ok(())
    }

    fn wake(&self, topics: &[Topic]) {
        topics
            .iter()
            .for_each(|topic| self.state.waker.wake(*topic));
    }
}

/// Every deployment is called off and every instance told to go.
pub(super) async fn stop_instances(attempt: &mut Attempt) -> Result<Progress, Error> {
    let subject = attempt.subject()?;
    let tx = &mut attempt.tx;
    for service in deletion::services(tx, subject.uuid()).await? {
        evaluation::request(tx, service.organization, service.id, "deletion").await?;
        orphan::let_go_of_service(tx, service.id).await?;
    }
    let waits = deletion::at_work(tx, subject.uuid()).await?;
    attempt.wake(&[Topic::Evaluations, Topic::Deployments, Topic::Instances]);
    Ok(done_or(waits))
}

/// No edge knows it any more.
pub(super) async fn remove_routes(attempt: &mut Attempt) -> Result<Progress, Error> {
    let (subject, mut found) = (attempt.subject()?, attempt.found()?);
    let Some(positions) = found.unrouted else {
        found.unrouted = Some(unroute(attempt, subject).await?);
        attempt.keep(&found)?;
        attempt.wake(&[Topic::Feeds]);
        return Ok(Progress::Waits("edges have to apply its removal".into()));
    };
    let followers = route::followers(&mut attempt.tx, &positions).await?;
    let late_time_is_over = attempt.claim.now - attempt.claim.step_since >= LATE_EDGES;
    if is_unused(&followers, late_time_is_over) {
        return Ok(Progress::Done);
    }
    let behind = deletion::edges_behind(&mut attempt.tx, &positions).await?;
    Ok(Progress::Waits(format!(
        "edges have to apply its removal: {}",
        behind.join(", ")
    )))
}

/// Takes every route away; answers where all routes then stand.
async fn unroute(attempt: &mut Attempt, subject: Subject) -> Result<Positions, Error> {
    let rendering = attempt.state.rendering;
    let tx = &mut attempt.tx;
    for service in deletion::services(tx, subject.uuid()).await? {
        if let Some(service) = placement::lock_service(tx, service.id).await? {
            routes::apply(tx, rendering, &service).await?;
            orphans::let_go(tx, service.id, DropCause::Deletion).await?;
        }
    }
    Ok(route::positions(tx).await?)
}

/// Nothing of it is on any node that is still one of ours.
pub(super) async fn clear_nodes(attempt: &mut Attempt) -> Result<Progress, Error> {
    let subject = attempt.subject()?;
    let waits = deletion::on_nodes(&mut attempt.tx, subject.uuid()).await?;
    Ok(done_or(waits))
}

/// A job for each service clears the registry and the log store.
pub(super) async fn delete_images(attempt: &mut Attempt) -> Result<Progress, Error> {
    let (subject, mut found) = (attempt.subject()?, attempt.found()?);
    let Some(jobs) = found.jobs else {
        found.jobs = Some(enqueue(attempt, subject).await?);
        attempt.keep(&found)?;
        attempt.wake(&[Topic::Jobs]);
        return Ok(Progress::Waits("the registry".into()));
    };
    let left = job::unfinished(&mut attempt.tx, &jobs).await?;
    Ok(match left.as_slice() {
        [] => Progress::Done,
        [None, ..] => Progress::Waits("the registry".into()),
        [Some(error), ..] => Progress::Waits(format!("the registry: {error}")),
    })
}

async fn enqueue(attempt: &mut Attempt, subject: Subject) -> Result<Vec<JobId>, Error> {
    let tx = &mut attempt.tx;
    let mut all = Vec::new();
    for service in deletion::services(tx, subject.uuid()).await? {
        let job = DeleteImages {
            organization_id: service.organization,
            service_id: service.id,
        };
        let payload = serde_json::to_value(job);
        let payload = payload.map_err(|error| store::Error::corrupt("job", error))?;
        all.push(job::insert(tx, "registry", jobs::DELETE_IMAGES, &payload).await?);
    }
    Ok(all)
}

/// The rows go last, so that until then every step can find what it is about. Those that a long life has left are
/// too many for one transaction.
pub(super) async fn delete_rows(attempt: &mut Attempt) -> Result<Progress, Error> {
    let subject = attempt.subject()?;
    let gone = deletion::delete_history(&mut attempt.tx, subject.uuid(), HISTORY).await?;
    if gone >= HISTORY.unsigned_abs() {
        let on = "its history, which is removed piece by piece";
        return Ok(Progress::Waits(on.into()));
    }
    deletion::delete_rows(&mut attempt.tx, subject.uuid()).await?;
    Ok(Progress::Done)
}

fn done_or(waits: Vec<String>) -> Progress {
    const SHOWN: usize = 3;
    if waits.is_empty() {
        return Progress::Done;
    }
    let mut shown = waits
        .iter()
        .take(SHOWN)
        .cloned()
        .collect::<Vec<_>>()
        .join("; ");
    if waits.len() > SHOWN {
        shown += &format!("; and {} more", waits.len() - SHOWN);
    }
    Progress::Waits(shown)
}
