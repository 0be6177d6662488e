//! What tenants do to the platform while it suffers: deploy, go back, scale, set variables, delete. One
//! writer after another per thing, so that the last acknowledged write is known.

use std::{cell::RefCell, time::Duration};

use anyhow::{Context as _, Result, ensure};
use api::{
    client::Error,
    deployment::{CreateDeployment, Deployment, DeploymentSource, DeploymentState},
    variable::SetVariable,
};
use chrono::Utc;
use domain::id::{DeploymentId, ServiceId};
use e2e::{
    platform::{Fixture, Platform},
    wait,
};
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use crate::history::{Answer, History, Write};

const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Longer than any step should take, to go on all the same.
const PATIENCE: Duration = Duration::from_secs(120);
const VARIABLES: usize = 4;

/// Writes until told to stop, and remembers what was answered.
pub struct Work<'a> {
    platform: &'a Platform,
    stop: watch::Receiver<bool>,
    history: RefCell<History>,
}

impl<'a> Work<'a> {
    /// Nothing is written yet.
    pub fn new(platform: &'a Platform, stop: watch::Receiver<bool>) -> Self {
        Self {
            platform,
            stop,
            history: RefCell::default(),
        }
    }

    /// What was written, and the answers.
    pub fn into_history(self) -> History {
        self.history.into_inner()
    }

    /// Waits until so many deployments and variables more have been acknowledged.
    pub async fn has_done(
        &self,
        deployments: usize,
        variables: usize,
        limit: Duration,
    ) -> Result<()> {
        let done = || {
            let history = self.history.borrow();
            (
                acknowledged(&history.deployments),
                acknowledged(&history.variables),
            )
        };
        let before = done();
        wait::outcome(limit, || async {
            let now = done();
            ensure!(
                now.0 >= before.0 + deployments && now.1 >= before.1 + variables,
                "deployments and variables acknowledged: {now:?}, before {before:?}"
            );
            Ok(())
        })
        .await
    }

    fn goes_on(&self) -> bool {
        !*self.stop.borrow()
    }

    /// Builds from git, and goes back to `first`, in turn.
    pub async fn build_and_roll_back(&self, first: &Deployment) -> Result<()> {
        let release_id = first
            .release_id
            .context("a live deployment has a release")?;
        let sources = [None, Some(DeploymentSource::Release { release_id })];
        for source in sources.into_iter().cycle() {
            if !self.goes_on() {
                break;
            }
            self.deploy(first.service_id, source).await;
        }
        Ok(())
    }

    /// Scales between one and two replicas, and redeploys.
    pub async fn scale_and_redeploy(&self, service: ServiceId, region: &'static str) -> Result<()> {
        for replicas in [2, 1].into_iter().cycle() {
            if !self.goes_on() {
                break;
            }
            self.scale(service, region, replicas).await;
            self.deploy(service, Some(DeploymentSource::Current)).await;
        }
        Ok(())
    }

    /// Redeploys.
    pub async fn redeploy(&self, service: ServiceId) {
        while self.goes_on() {
            self.deploy(service, Some(DeploymentSource::Current)).await;
        }
    }

    /// Sets variables to rising numbers.
    pub async fn set_variables(&self, fixture: &Fixture) -> Result<()> {
        for number in 0.. {
            if !self.goes_on() {
                break;
            }
            let name = format!("CHAOS_{}", number % VARIABLES);
            let value = number.to_string();
            let path = format!("/v1/environments/{}/variables/{name}", fixture.environment);
            let variable = SetVariable {
                value: value.clone(),
                sealed: false,
            };
            let result = self.platform.client.put::<_, Value>(&path, &variable).await;
            let write = ((name, value), Answer::of(result.map(drop)));
            self.history.borrow_mut().variables.push(write);
            self.pause(Duration::from_secs(1)).await;
        }
        Ok(())
    }

    /// Makes a project, deploys in it, and deletes it before that has ended.
    pub async fn make_and_delete(&self, spec: &Value) -> Result<()> {
        while self.goes_on() {
            if let Ok(fixture) = self.platform.fixture("doomed", spec.clone()).await {
                // Its rows go with the project: they are not part of the history.
                self.begin(fixture.service.id, None).await;
                let seconds = 2 + rand::random::<u64>() % 12;
                self.pause(Duration::from_secs(seconds)).await;
                let path = format!("/v1/projects/{}", fixture.project);
                let answer = Answer::of(self.platform.client.delete(&path).await);
                let write = (fixture.project, answer);
                self.history.borrow_mut().deletions.push(write);
            }
            self.pause(Duration::from_secs(5)).await;
        }
        Ok(())
    }

    async fn deploy(&self, service: ServiceId, source: Option<DeploymentSource>) {
        let answer = self.begin(service, source).await;
        let id = answer.acknowledged().copied();
        self.history
            .borrow_mut()
            .deployments
            .push((service, answer));
        match id {
            Some(id) => self.end_of(id).await,
            None => sleep(LOOK_EVERY).await,
        }
    }

    async fn begin(
        &self,
        service: ServiceId,
        source: Option<DeploymentSource>,
    ) -> Answer<DeploymentId> {
        let path = format!("/v1/services/{service}/deployments");
        let begun: Result<Deployment, Error> = self
            .platform
            .client
            .post(&path, &CreateDeployment { source })
            .await;
        Answer::of(begun.map(|deployment| deployment.id))
    }

    /// Waits for its end, or until it is time to stop: the judge looks again.
    async fn end_of(&self, id: DeploymentId) {
        let deadline = Instant::now() + PATIENCE;
        while self.goes_on() && Instant::now() < deadline {
            let path = format!("/v1/deployments/{id}");
            let now: Result<Deployment, Error> = self.platform.client.get(&path).await;
            if now.is_ok_and(|now| has_ended(now.state)) {
                return;
            }
            sleep(LOOK_EVERY).await;
        }
    }

    async fn scale(&self, service: ServiceId, region: &'static str, replicas: u32) {
        let path = format!("/v1/services/{service}/scale");
        let body = json!({ "regions": { region: replicas } });
        let result = self.platform.client.put::<_, Value>(&path, &body).await;
        let write = (service, region, replicas);
        let answer = Answer::of(result.map(drop));
        let acknowledged = answer.acknowledged().is_some();
        self.history.borrow_mut().scales.push((write, answer));
        if acknowledged {
            let began = Utc::now();
            self.until_scaled(service, region, replicas).await;
            let scaling = (began, Utc::now());
            self.history.borrow_mut().scaling.push(scaling);
        }
    }

    /// Waits until so many are to run, and are ready, or until it is time to stop: the judge looks again.
    async fn until_scaled(&self, service: ServiceId, region: &str, replicas: u32) {
        let deadline = Instant::now() + PATIENCE;
        while self.goes_on() && Instant::now() < deadline {
            let path = format!("/v1/services/{service}/instances");
            let all = self.platform.client.list::<Value>(&path).await;
            let ready = all.unwrap_or_default().into_iter().filter_map(|one| {
                let is_here = one["region"] == region && one["desired"] == "run";
                is_here.then(|| one["ready"] == true)
            });
            let ready: Vec<_> = ready.collect();
            if u32::try_from(ready.len()) == Ok(replicas) && ready.into_iter().all(|ready| ready) {
                return;
            }
            sleep(LOOK_EVERY).await;
        }
    }

    async fn pause(&self, pause: Duration) {
        let mut stop = self.stop.clone();
        tokio::select! {
            () = sleep(pause) => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
    }
}

fn acknowledged<W, T>(writes: &[Write<W, T>]) -> usize {
    let all = writes.iter();
    all.filter(|(_, answer)| answer.acknowledged().is_some())
        .count()
}

fn has_ended(state: DeploymentState) -> bool {
    state.is_final()
}
