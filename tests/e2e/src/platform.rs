//! The platform under test: the one that `./dev up` started in `RAILHEAD_DEV_DIR`. Tests share it,
//! run one after another, make projects of their own and delete them.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use api::{
    client::{Client, Config},
    deployment::{CreateDeployment, Deployment, DeploymentSource, DeploymentState},
    log::LogRecord,
    service::Service,
};
use domain::id::{EnvironmentId, OrganizationId, ProjectId, ServiceId};
use futures::TryStreamExt as _;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::{
    command::{run, succeed},
    edge::Edge,
    wait,
};

/// How projects of these tests are called.
const PROJECT_PREFIX: &str = "e2e-";

/// What `./dev status --json` says.
#[derive(Debug, Clone, Deserialize)]
pub struct Status {
    /// Every process, by name.
    pub processes: Vec<Process>,
    /// The API's address.
    pub api: String,
    /// Region to HTTPS address.
    pub edges: BTreeMap<String, SocketAddr>,
    /// By name.
    pub regions: BTreeMap<String, Region>,
    /// PEM.
    pub ca_file: PathBuf,
    /// The example application's name.
    pub example_host: String,
    /// The git URL that the example was deployed from.
    pub example_repository: String,
    /// An administrator's token.
    pub admin_token_file: PathBuf,
}

/// What a region is made of.
#[derive(Debug, Clone, Deserialize)]
pub struct Region {
    /// The node's.
    pub address: IpAddr,
    /// The node's network namespace.
    pub netns: String,
    /// Of the engine that runs workloads.
    pub docker_socket: PathBuf,
    /// Of the engine that builds.
    pub build_socket: PathBuf,
}

/// One process of the platform.
#[derive(Debug, Clone, Deserialize)]
pub struct Process {
    /// Such as `us-east-agent`.
    pub name: String,
    /// While it runs.
    pub pid: Option<i32>,
    /// Such as `ready`.
    pub state: String,
    /// How often the supervisor has started it again.
    pub restarts: u32,
}

/// The running platform, spoken to as an administrator.
pub struct Platform {
    /// As of the start of the test.
    pub status: Status,
    /// Speaks to the API.
    pub client: Client,
    /// The first organization.
    pub organization: OrganizationId,
    ca: String,
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
    /// The platform that runs now.
    pub async fn running() -> Result<Self> {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let status = status().await?;
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
        };
        platform.delete_leftovers().await?;
        Ok(platform)
    }

    /// Projects of tests that failed would take the room of those that follow.
    async fn delete_leftovers(&self) -> Result<()> {
        let path = format!("/v1/organizations/{}/projects", self.organization);
        for project in self.client.list::<Value>(&path).await? {
            if text(&project, "name")?.starts_with(PROJECT_PREFIX) {
                let path = format!("/v1/projects/{}", text(&project, "id")?);
                self.client.delete(&path).await?;
            }
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

    /// A new project with a service of that specification.
    pub async fn fixture(&self, service: &str, spec: Value) -> Result<Fixture> {
        let name = format!("{PROJECT_PREFIX}{}", hex::encode(rand::random::<[u8; 5]>()));
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

    /// Replaces the service's specification, for its next deployment.
    pub async fn respecify(&self, service: ServiceId, spec: Value) -> Result<()> {
        let path = format!("/v1/services/{service}");
        let now = self.client.get_versioned::<Value>(&path).await?;
        let _: Value = self
            .client
            .patch(&path, &now.etag, &json!({ "spec": spec }))
            .await?;
        Ok(())
    }

    /// Changes the number of replicas.
    pub async fn scale(&self, service: ServiceId, regions: &[(&str, u32)]) -> Result<()> {
        let regions: BTreeMap<_, _> = regions.iter().copied().collect();
        let _: Value = self
            .client
            .put(
                &format!("/v1/services/{service}/scale"),
                &json!({ "regions": regions }),
            )
            .await?;
        Ok(())
    }

    /// Starts a deployment.
    pub async fn begin(
        &self,
        service: ServiceId,
        source: Option<DeploymentSource>,
    ) -> Result<Deployment> {
        Ok(self
            .client
            .post(
                &format!("/v1/services/{service}/deployments"),
                &CreateDeployment { source },
            )
            .await?)
    }

    /// The deployment as it is now.
    pub async fn deployment(&self, deployment: &Deployment) -> Result<Deployment> {
        Ok(self
            .client
            .get(&format!("/v1/deployments/{}", deployment.id))
            .await?)
    }

    /// Waits for its end, whichever.
    pub async fn end_of(&self, deployment: &Deployment, limit: Duration) -> Deployment {
        wait::until(&format!("the end of {}", deployment.id), limit, || async {
            let now = self.deployment(deployment).await?;
            ensure!(
                now.state.is_end(),
                "it is {:?} since {}",
                now.state,
                now.state_since
            );
            Ok(now)
        })
        .await
    }

    /// Deploys and insists that it goes live.
    pub async fn deploy(
        &self,
        service: ServiceId,
        source: Option<DeploymentSource>,
    ) -> Result<Deployment> {
        let begun = self.begin(service, source).await?;
        let ended = self.end_of(&begun, Duration::from_secs(300)).await;
        ensure!(
            ended.state == DeploymentState::Live,
            "{:?}: {:?}",
            ended.state,
            ended.error
        );
        Ok(ended)
    }

    /// `railhead up` of a folder, to the end.
    pub async fn up(&self, fixture: &Fixture, folder: &Path) -> Result<()> {
        let service = fixture.service.id.to_string();
        succeed(
            railhead(self)?
                .args(["up", "--ci", "-s", &service])
                .arg(folder),
        )
        .await
        .map(|_| ())
    }

    /// The newest deployment of a service.
    pub async fn newest_deployment(&self, service: ServiceId) -> Result<Deployment> {
        let all: Vec<Deployment> = self
            .client
            .list(&format!("/v1/services/{service}/deployments"))
            .await?;
        all.into_iter()
            .max_by_key(|deployment| deployment.number)
            .context("no deployment")
    }

    /// All lines of a deployment's build.
    pub async fn build_log(&self, deployment: &Deployment) -> Result<String> {
        let path = format!("/v1/deployments/{}/logs", deployment.id);
        let lines: Vec<LogRecord> = self.client.ndjson(&path).await?.try_collect().await?;
        Ok(lines_of(&lines))
    }

    /// The machine's address on the platform's network, where API and registry listen.
    pub fn host_address(&self) -> String {
        let api: url::Url = self.status.api.parse().expect("the API's address is a URL");
        api.host_str()
            .expect("the API's address names a host")
            .to_owned()
    }

    /// The addresses of a service's containers on their private networks, from the engines.
    pub async fn container_addresses(&self, service: ServiceId) -> Result<Vec<String>> {
        let mut addresses = Vec::new();
        for region in self.status.regions.values() {
            let containers = self.containers(&region.docker_socket, service).await?;
            let networks = containers
                .iter()
                .filter_map(|container| container["NetworkSettings"]["Networks"].as_object());
            addresses.extend(
                networks
                    .flat_map(|all| all.values())
                    .filter_map(|network| network["IPAddress"].as_str().map(str::to_owned)),
            );
        }
        Ok(addresses)
    }

    /// `kill -9` of a service's containers in one region; how many there were.
    pub async fn kill_containers(&self, region: &str, service: ServiceId) -> Result<usize> {
        let socket = &self.status.regions[region].docker_socket;
        let containers = self.containers(socket, service).await?;
        for container in &containers {
            let id = text(container, "Id")?;
            let mut curl = Command::new("curl");
            curl.args(["-sS", "--fail", "-X", "POST", "--unix-socket"])
                .arg(socket)
                .arg(format!("http://engine/containers/{id}/kill"));
            succeed(&mut curl).await?;
        }
        Ok(containers.len())
    }

    /// Packets that ever left a region's containers for another's, or came from there.
    pub async fn packets_between_containers(&self) -> Result<u64> {
        let mut packets = 0;
        for region in self.status.regions.values() {
            let mut list = Command::new("nsenter");
            list.arg(format!("--net=/run/netns/{}", region.netns))
                .args(["iptables", "-t", "mangle", "-nvxL", "FORWARD"]);
            let counters = succeed(&mut list).await?.stdout;
            let counters: Vec<_> = counters
                .lines()
                .filter(|line| line.contains("containers of"))
                .collect();
            ensure!(counters.len() == 2, "an invalid run: counters {counters:?}");
            for line in counters {
                let count = line
                    .split_whitespace()
                    .next()
                    .context("a counter begins with a number")?;
                packets += count.parse::<u64>()?;
            }
        }
        Ok(packets)
    }

    async fn containers(&self, socket: &Path, service: ServiceId) -> Result<Vec<Value>> {
        let filter = json!({ "label": [format!("railhead.service={service}")] }).to_string();
        let mut curl = Command::new("curl");
        curl.args([
            "-sS",
            "--get",
            "http://engine/containers/json",
            "--data-urlencode",
        ])
        .arg(format!("filters={filter}"))
        .arg("--unix-socket")
        .arg(socket);
        Ok(serde_json::from_str(&succeed(&mut curl).await?.stdout)?)
    }

    /// The image that a service runs, every layer unpacked one after another, as `docker save` gives it.
    pub async fn saved_image(&self, service: ServiceId) -> Result<Vec<u8>> {
        let socket = &self.status.regions["us-east"].docker_socket;
        let containers = self.containers(socket, service).await?;
        let image = containers
            .first()
            .and_then(|container| container["ImageID"].as_str())
            .context("no container")?;
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--fail", "--unix-socket"])
            .arg(socket)
            .arg(format!("http://engine/images/{image}/get"));
        let output = curl.output().await?;
        ensure!(
            output.status.success(),
            "saving {image}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(output.stdout)
    }

    /// Deletes the project and waits until the API has forgotten it.
    pub async fn delete(&self, fixture: &Fixture) -> Result<()> {
        self.client
            .delete(&format!("/v1/projects/{}", fixture.project))
            .await?;
        Ok(())
    }

    /// The process of that name, now.
    pub async fn process(&self, name: &str) -> Result<Process> {
        status()
            .await?
            .processes
            .into_iter()
            .find(|process| process.name == name)
            .with_context(|| format!("no process {name}"))
    }

    /// `kill -9`, at once.
    pub async fn kill(&self, name: &str) -> Result<i32> {
        let pid = self
            .process(name)
            .await?
            .pid
            .with_context(|| format!("{name} is not running"))?;
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(pid),
            nix::sys::signal::Signal::SIGKILL,
        )?;
        Ok(pid)
    }

    /// Keeps a process stopped (`true`) or lets the supervisor start it again.
    pub async fn hold(&self, name: &str, held: bool) -> Result<()> {
        succeed(dev().args([if held { "hold" } else { "release" }, name]))
            .await
            .map(|_| ())
    }

    /// Waits until the supervisor says that `name` is ready in a process other than `not`.
    pub async fn wait_ready(&self, name: &str, not: Option<i32>) {
        wait::until(
            &format!("{name} ready"),
            Duration::from_secs(60),
            || async {
                let process = self.process(name).await?;
                ensure!(
                    process.state == "ready" && process.pid != not,
                    "it is {}",
                    process.state
                );
                Ok(())
            },
        )
        .await;
    }
}

/// The text of the lines, gaps and idle marks left out.
pub fn lines_of(records: &[LogRecord]) -> String {
    let lines = records.iter().filter_map(|record| match record {
        LogRecord::Line(line) => Some(format!("{}\n", line.text)),
        LogRecord::Gap { .. } | LogRecord::Idle => None,
    });
    lines.collect()
}

/// `./dev`, in the checkout that these tests were built from.
pub fn dev() -> Command {
    let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../dev"));
    command.kill_on_drop(true);
    command
}

/// The `railhead` program of this build, signed in as the platform's administrator.
pub fn railhead(platform: &Platform) -> Result<Command> {
    let program = std::env::current_exe()?
        .ancestors()
        .nth(2)
        .context("no target folder")?
        .join("railhead");
    ensure!(program.exists(), "{} is not built", program.display());
    let mut command = Command::new(program);
    command
        .env("RAILHEAD_API", &platform.status.api)
        .env("RAILHEAD_CA", &platform.status.ca_file)
        .env(
            "RAILHEAD_TOKEN",
            std::fs::read_to_string(&platform.status.admin_token_file)?.trim(),
        )
        .kill_on_drop(true);
    Ok(command)
}

/// What `./dev status --json` says now.
pub async fn status() -> Result<Status> {
    let said = run(dev().args(["status", "--json"])).await?;
    serde_json::from_str(&said.stdout)
        .with_context(|| format!("./dev status --json said {}{}", said.stdout, said.stderr))
}

fn text<'a>(value: &'a Value, field: &str) -> Result<&'a str> {
    match value[field].as_str() {
        Some(text) => Ok(text),
        None => bail!("no \"{field}\" in {value}"),
    }
}
