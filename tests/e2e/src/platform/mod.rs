//! The platform under test, which runs already. Tests make projects of their own and delete them.

mod deployments;
mod engines;
mod events;
mod leftovers;
mod names;
mod network;
mod processes;
mod replicas;
mod traces;
mod turn;

use std::{path::Path, sync::Arc};

use anyhow::{Context as _, Result, bail, ensure};
use api::{
    client::{Client, Config},
    service::Service,
};
use domain::id::{EnvironmentId, OrganizationId, ProjectId, ServiceId};
use serde_json::{Value, json};

use crate::edge::Edge;

use processes::status;

pub use deployments::{lines_of, railhead};
pub use processes::{Process, Region, Status, dev};
pub use replicas::CONTROL_PLANES;
pub use turn::Turn;

/// How projects of these tests are called; the id of the test's process follows, and then chance.
const PROJECT_PREFIX: &str = "e2e-";

/// The running platform, spoken to as an administrator.
pub struct Platform {
    /// As of the start of the test.
    pub status: Status,
    /// Speaks to the API.
    pub client: Client,
    /// The first organization.
    pub organization: OrganizationId,
    ca: String,
    turn: Turn,
}

/// A project of one test with one service in it.
pub struct Fixture {
    /// The project.
    pub project: ProjectId,
    /// Its environment `production`.
    pub environment: EnvironmentId,
    /// Its service.
    pub service: Service,
    /// The service's default hostname.
    pub host: String,
}

impl Platform {
    /// A platform for this test alone: it may kill, cut off and measure what it likes.
    pub async fn alone() -> Result<Self> {
        Self::of(Turn::alone().await?).await
    }

    /// A platform of three control planes or more for this test alone.
    pub async fn alone_with_three_replicas() -> Result<Self> {
        let platform = Self::of(Turn::alone_on_the_last().await?).await?;
        let replicas = platform.control_planes().len();
        ensure!(
            replicas >= 3,
            "this platform has {replicas} control planes: ./dev test brings one of three up"
        );
        Ok(platform)
    }

    /// The platform that this test shares with others.
    pub async fn shared() -> Result<Self> {
        Self::of(Turn::beside_others().await?).await
    }

    async fn of(turn: Turn) -> Result<Self> {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let status = status(&turn).await?;
        let ca = std::fs::read_to_string(&status.ca_file).context("reading the platform's CA")?;
        let token = std::fs::read_to_string(&status.admin_token_file)
            .context("reading the administrator's token")?;
        let client = Client::new(Config {
            address: status.api.parse()?,
            ca: Some(ca.clone()),
            token: Some(token.trim().to_owned()),
            user_agent: "railhead-e2e".to_owned(),
            observer: Arc::new(|_| {}),
        })?;
        let organizations: Vec<Value> = client.list("/v1/organizations").await?;
        let first = organizations
            .first()
            .and_then(|o| o["id"].as_str())
            .context("no organization")?;
        let platform = Self {
            organization: first.parse()?,
            status,
            client,
            ca,
            turn,
        };
        platform.heal_leftovers()?;
        platform.delete_leftovers().await?;
        Ok(platform)
    }

    /// Projects of tests that failed would take the room of those that follow.
    async fn delete_leftovers(&self) -> Result<()> {
        let path = format!("/v1/organizations/{}/projects", self.organization);
        for project in self.client.list::<Value>(&path).await? {
            if is_left_over(text(&project, "name")?) {
                let path = format!("/v1/projects/{}", text(&project, "id")?);
                self.client.delete(&path).await?;
            }
        }
        // What a restored database has forgotten belongs to no project.
        for orphan in self.client.list::<Value>("/v1/orphans").await? {
            let path = format!("/v1/orphans/{}", text(&orphan, "instance_id")?);
            self.client.delete(&path).await?;
        }
        Ok(())
    }

    /// The edge of `region`, asked for `host`.
    pub fn edge(&self, region: &str, host: &str) -> Edge {
        Edge::new(self.status.edges[region], host, &self.ca).expect("the platform's CA is PEM")
    }

    /// All edges, asked for `host`.
    pub fn edges(&self, host: &str) -> Vec<Edge> {
        self.status
            .edges
            .keys()
            .map(|region| self.edge(region, host))
            .collect()
    }

    /// The platform's CA, PEM.
    pub fn ca(&self) -> &str {
        &self.ca
    }

    /// The machine's address on the platform's network, where API and registry listen.
    pub fn host_address(&self) -> String {
        let api: url::Url = self.status.api.parse().expect("the API's address is a URL");
        api.host_str()
            .expect("the API's address names a host")
            .to_owned()
    }

    /// A new project with a service of that specification.
    pub async fn fixture(&self, service: &str, spec: Value) -> Result<Fixture> {
        let chance = hex::encode(rand::random::<[u8; 5]>());
        let name = format!("{PROJECT_PREFIX}{}-{chance}", std::process::id());
        let project: Value = self
            .client
            .post(
                &format!("/v1/organizations/{}/projects", self.organization),
                &json!({ "name": name }),
            )
            .await?;
        let project: ProjectId = text(&project, "id")?.parse()?;
        let environments: Vec<Value> = self
            .client
            .list(&format!("/v1/projects/{project}/environments"))
            .await?;
        let environment: EnvironmentId = match environments.first() {
            Some(environment) => text(environment, "id")?.parse()?,
            None => {
                let made: Value = self
                    .client
                    .post(
                        &format!("/v1/projects/{project}/environments"),
                        &json!({ "name": "production" }),
                    )
                    .await?;
                text(&made, "id")?.parse()?
            }
        };
        let service: Service = self
            .client
            .post(
                &format!("/v1/environments/{environment}/services"),
                &json!({ "name": service, "spec": spec }),
            )
            .await?;
        let host = self.default_host(service.id).await?;
        Ok(Fixture {
            project,
            environment,
            service,
            host,
        })
    }

    async fn default_host(&self, service: ServiceId) -> Result<String> {
        let domains: Vec<Value> = self
            .client
            .list(&format!("/v1/services/{service}/domains"))
            .await?;
        domains.first().map_or(Ok(String::new()), |domain| {
            text(domain, "hostname").map(str::to_owned)
        })
    }

    /// Deletes the project and waits until the API has forgotten it.
    pub async fn delete(&self, fixture: &Fixture) -> Result<()> {
        self.client
            .delete(&format!("/v1/projects/{}", fixture.project))
            .await?;
        Ok(())
    }
}

/// It is a test's project, and that test has ended.
fn is_left_over(project: &str) -> bool {
    let of_process = project.strip_prefix(PROJECT_PREFIX);
    let process = of_process.and_then(|rest| rest.split('-').next());
    process.is_some_and(|id| !Path::new("/proc").join(id).exists())
}

fn text<'a>(value: &'a Value, field: &str) -> Result<&'a str> {
    match value[field].as_str() {
        Some(text) => Ok(text),
        None => bail!("no \"{field}\" in {value}"),
    }
}
