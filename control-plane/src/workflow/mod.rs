//! Workflows: fixed steps, one after the other, for what can't change its goal midway (docs/adr/0019).
//!
//! A step is idempotent: it looks at the world, does what is missing, and says whether it is done,
//! what it waits for, or that it can't be done. It is one short transaction (slow work is a job that
//! it waits for), and that is kept only together with the row's advance, which compares (step,
//! attempt) and the platform's epoch; so a replica that was overtaken, killed, or left behind by a
//! restored database changes nothing. A step that fails is tried again with back-off, without end. One
//! that can't be done takes the workflow back: the undo of its steps, from that one to the first.

pub mod deletion;

use std::time::Duration;

use domain::id::OrganizationId;
use futures::future::BoxFuture;

use crate::{
    State,
    store::{
        self,
        tx::{SystemTx, Write},
        workflow::{self, Claim, Next},
    },
    waker::Topic,
};

/// A holder that has died is followed by another after this long.
const LIFETIME: Duration = Duration::from_secs(20);

/// A step that works longer has failed.
const STEP_MAX: Duration = Duration::from_secs(10);

/// What waits is looked at this often, and sooner when it is woken.
const POLL: Duration = Duration::from_secs(1);

const BACKOFF_MAX: Duration = Duration::from_secs(900);

/// Workflows that this program knows.
const ALL: [&Workflow; 1] = [&deletion::WORKFLOW];

/// Why an attempt came to nothing; it is made again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error("the step can't be taken back: {0}")]
    Undo(String),
    #[error("it took longer than {} s", STEP_MAX.as_secs())]
    TooLong(#[from] tokio::time::error::Elapsed),
}

/// A kind of workflow.
#[derive(Debug)]
pub struct Workflow {
    pub kind: &'static str,
    /// At least one.
    pub steps: &'static [Step],
}

/// One step.
#[derive(Debug)]
pub struct Step {
    /// As stored and shown.
    pub name: &'static str,
    pub run: Run,
    /// Takes back what it did, also in part; none when there is nothing to take back.
    pub undo: Option<Run>,
}

/// Does a step, or takes it back.
pub type Run = for<'a> fn(&'a mut Attempt) -> BoxFuture<'a, Result<Progress, Error>>;

/// An attempt at a step, in its transaction.
pub struct Attempt {
    pub state: State,
    pub tx: SystemTx,
    /// What it is about, and what earlier steps have found out (`claim.data`).
    pub claim: Claim,
}

/// How far a step is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    Done,
    /// On this, for people.
    Waits(String),
    /// For this reason it can't be done: all is taken back.
    Failed(String),
}

impl Workflow {
    /// Begins one in the transaction that makes it necessary; nothing happens when the subject has one.
    ///
    /// # Errors
    /// When the database can't be reached.
    pub async fn begin(
        &self,
        tx: &mut impl Write,
        organization: Option<OrganizationId>,
        subject: &(impl ToString + ?Sized),
        name: &str,
    ) -> Result<(), store::Error> {
        let new = workflow::New {
            organization,
            kind: self.kind,
            subject: subject.to_string(),
            name,
            first_step: self.steps.first().map_or("", |step| step.name),
        };
        workflow::insert(tx, &new).await
    }

    fn position(&self, step: &str) -> Result<usize, store::Error> {
        let found = self.steps.iter().position(|known| known.name == step);
        found.ok_or_else(|| store::Error::corrupt("step of a workflow", step))
    }

    /// Where it goes from a step that is done, or taken back.
    fn after(&self, at: usize, undoing: bool) -> Next<'static> {
        let next = if undoing {
            at.checked_sub(1)
        } else {
            at.checked_add(1)
        };
        let step = next.and_then(|at| self.steps.get(at));
        step.map_or(Next::End, |step| Next::Step(step.name))
    }
}

/// Works on workflows until the replica is to end.
pub async fn run(state: State) {
    let mut wakes = state.waker.subscribe(Topic::Workflows);
    loop {
        match turn(&state, &ALL).await {
            Ok(true) if !state.leaving.is_cancelled() => continue,
            Ok(_) => {}
            Err(error) if error.is_retryable() => {
                tracing::debug!(%error, "workflows wait for the database");
            }
            Err(error) => tracing::error!(%error, "workflows failed"),
        }
        tokio::select! {
            () = state.leaving.cancelled() => return,
            woken = wakes.changed() => if woken.is_err() { return },
            () = tokio::time::sleep(POLL) => {}
        }
    }
}

/// One attempt at the workflow that is due for longest; whether there was one.
///
/// # Errors
/// When the database can't be reached.
pub async fn turn(state: &State, all: &[&Workflow]) -> Result<bool, store::Error> {
    let kinds: Vec<&str> = all.iter().map(|workflow| workflow.kind).collect();
    let mut tx = SystemTx::begin(&state.pools).await?;
    let Some(claim) = workflow::claim(&mut tx, &kinds, LIFETIME).await? else {
        return Ok(false);
    };
    tx.commit().await?;
    let Some(workflow) = all.iter().find(|workflow| workflow.kind == claim.kind) else {
        return Ok(false);
    };
    let attempted = tokio::time::timeout(STEP_MAX, attempt(state, workflow, &claim)).await;
    let error = match attempted.map_err(Error::from).flatten() {
        Ok(()) => return Ok(true),
        Err(error) => error.to_string(),
    };
    tracing::warn!(
        kind = claim.kind,
        subject = claim.subject,
        step = claim.step,
        error,
        "a step of a workflow failed"
    );
    let mut tx = SystemTx::begin(&state.pools).await?;
    workflow::fail(&mut tx, &claim, &error, backoff(claim.failures)).await?;
    tx.commit().await?;
    Ok(true)
}

/// Does the step in one transaction with the advance.
async fn attempt(state: &State, workflow: &Workflow, claim: &Claim) -> Result<(), Error> {
    let at = workflow.position(&claim.step)?;
    let mut attempt = Attempt {
        state: state.clone(),
        tx: SystemTx::begin(&state.pools).await?,
        claim: claim.clone(),
    };
    let step = workflow.steps.get(at);
    let work = step.and_then(|step| {
        if claim.undoing {
            step.undo
        } else {
            Some(step.run)
        }
    });
    let progress = match work {
        Some(work) => work(&mut attempt).await?,
        None => Progress::Done,
    };
    let Attempt { mut tx, claim, .. } = attempt;
    let (kind, subject, step) = (&claim.kind, &claim.subject, &claim.step);
    let held = match &progress {
        Progress::Done => {
            let next = workflow.after(at, claim.undoing);
            tracing::info!(
                kind,
                subject,
                step,
                undoing = claim.undoing,
                "a step of a workflow is done"
            );
            workflow::advance(&mut tx, &claim, next, None).await?
        }
        Progress::Waits(on) => workflow::wait(&mut tx, &claim, on, POLL).await?,
        Progress::Failed(problem) if claim.undoing => return Err(Error::Undo(problem.clone())),
        Progress::Failed(problem) => {
            tracing::warn!(
                kind,
                subject,
                step,
                problem,
                "a workflow can't go on and is taken back"
            );
            let back = Next::Undo(step.as_str());
            workflow::advance(&mut tx, &claim, back, Some(problem)).await?
        }
    };
    if !held {
        tracing::info!(
            kind,
            subject,
            step,
            "another replica has this workflow: nothing is kept"
        );
        return Ok(());
    }
    tx.commit().await?;
    if progress == Progress::Done {
        state.waker.wake(Topic::Workflows);
    }
    Ok(())
}

/// 2 s, doubling, at most 15 min.
fn backoff(failures: u32) -> Duration {
    Duration::from_secs(2 << failures.min(10)).min(BACKOFF_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Run = |_| Box::pin(async { Ok(Progress::Done) });

    const TWO: Workflow = Workflow {
        kind: "two",
        steps: &[
            Step {
                name: "first",
                run: NOTHING,
                undo: None,
            },
            Step {
                name: "second",
                run: NOTHING,
                undo: None,
            },
        ],
    };

    #[test]
    fn steps_go_forward_to_the_end_and_back_to_the_begin() {
        assert_eq!(TWO.after(0, false), Next::Step("second"));
        assert_eq!(TWO.after(1, false), Next::End);
        assert_eq!(TWO.after(1, true), Next::Step("first"));
        assert_eq!(TWO.after(0, true), Next::End);
        assert!(TWO.position("third").is_err());
    }

    #[test]
    fn the_pause_doubles_up_to_a_quarter_of_an_hour() {
        assert_eq!(backoff(0), Duration::from_secs(2));
        assert_eq!(backoff(3), Duration::from_secs(16));
        assert_eq!(backoff(u32::MAX), BACKOFF_MAX);
    }

    #[test]
    fn steps_have_names_of_their_own() {
        for workflow in ALL {
            let names: std::collections::BTreeSet<_> =
                workflow.steps.iter().map(|step| step.name).collect();
            assert_eq!(names.len(), workflow.steps.len(), "{}", workflow.kind);
        }
    }
}
