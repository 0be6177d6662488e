//! The public API at a steady rate, and at several times what it can do.

mod flood;

use std::{
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use futures::future::try_join_all;
use reqwest::Method;
use serde_json::json;
use tokio::{task::JoinSet, time::sleep};

use self::flood::Flood;
use crate::{
    client::{Client, text},
    figure::{Figure, count, percentile, tell},
    installation::Installation,
    open_loop::{self, Outcome},
    process::complete,
};

const SERVICES: usize = 40;
const PER_SECOND: u32 = 200;
const STEADY: Duration = Duration::from_secs(20);
const FLOOD: Duration = Duration::from_secs(15);
/// Times the capacity.
const FLOODS: [f64; 2] = [2.0, 5.0];
/// What waits of one flood is over before the next.
const CALM: Duration = Duration::from_secs(3);
/// Requests at once while the capacity is measured.
const WORKERS: usize = 32;
const MEMORY_MEBIBYTES: f64 = 120.0;
const HEALTH_EVERY: Duration = Duration::from_millis(50);
/// Who has waited for so long for the health takes it for bad.
const HEALTH_WITHIN: Duration = Duration::from_secs(5);

/// All threads of this program, and those to come.
fn move_to(processors: &str) -> Result<()> {
    let own = std::process::id().to_string();
    let mut taskset = Command::new("taskset");
    complete(taskset.args(["--all-tasks", "--cpu-list", "--pid", processors, &own]))
}

/// What requests go to.
struct Target {
    client: Client,
    services: Vec<String>,
}

/// Measures reads, writes, and an overload of both. Made on the platform's processors, five times the load
/// would take its own cost from what is measured.
pub async fn run(processors: Option<&str>) -> Result<Vec<Figure>> {
    let installation = Installation::new("").await?;
    if let Some(processors) = processors {
        move_to(processors)?;
    }
    let idle = installation.resident_mebibytes()?;
    let target = Arc::new(Target::new(installation.client.clone()).await?);
    // Pools, plans and caches as they are in service.
    steady(&target, Target::read, Duration::from_secs(3)).await;
    steady(&target, Target::write, Duration::from_secs(3)).await;
    let mut figures =
        vec![Figure::new("control_plane_resident_idle", idle, "MiB").at_most(MEMORY_MEBIBYTES)];
    let reads = steady(&target, Target::read, STEADY).await;
    figures.extend(latencies("reads", &reads, 20.0));
    let writes = steady(&target, Target::write, STEADY).await;
    figures.extend(latencies("writes", &writes, 60.0));
    let capacity = capacity(&target).await;
    figures.push(Figure::new("capacity", capacity, "requests/s"));
    tell(&figures);
    for factor in FLOODS {
        sleep(CALM).await;
        let of_flood = flood(&installation, &target, capacity, factor)
            .await?
            .figures();
        tell(&of_flood);
        figures.extend(of_flood);
    }
    Ok(figures)
}

impl Target {
    async fn new(client: Client) -> Result<Self> {
        let environment = client.environment("measured").await?;
        let services = format!("/v1/environments/{environment}/services");
        let made = (0..SERVICES).map(|n| {
            let (client, services) = (client.clone(), services.clone());
            let source = json!({ "repo": "https://git.example.com/acme/shop.git" });
            let wanted = json!({ "name": format!("service-{n}"), "spec": { "source": source } });
            async move { text(&client.post(&services, &wanted).await?, "id") }
        });
        Ok(Self {
            services: try_join_all(made).await?,
            client,
        })
    }

    fn service(&self, n: usize) -> &str {
        self.services
            .get(n % self.services.len())
            .map_or("", String::as_str)
    }

    /// What people and pipelines look at most.
    async fn read(self: Arc<Self>, n: usize) -> Option<u16> {
        let service = self.service(n);
        let path = match n % 4 {
            0 => "/v1/me".to_owned(),
            1 => format!("/v1/services/{service}"),
            2 => format!("/v1/services/{service}/deployments"),
            _ => format!("/v1/services/{service}/variables"),
        };
        self.send(Method::GET, &path, None).await
    }

    /// A row, its version, an event and an audit event in one transaction.
    async fn write(self: Arc<Self>, n: usize) -> Option<u16> {
        let path = format!("/v1/services/{}/variables/MEASURED", self.service(n));
        let value = json!({ "value": format!("value {n}") });
        self.send(Method::PUT, &path, Some(value)).await
    }

    /// Four reads to a write.
    async fn mixed(self: Arc<Self>, n: usize) -> Option<u16> {
        match n % 5 {
            0 => self.write(n).await,
            _ => self.read(n).await,
        }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<serde_json::Value>,
    ) -> Option<u16> {
        let mut request = self.client.request(method, path);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.ok()?;
        let status = answer.status().as_u16();
        answer.bytes().await.ok()?;
        Some(status)
    }
}

async fn steady<F>(
    target: &Arc<Target>,
    request: impl Fn(Arc<Target>, usize) -> F,
    lasting: Duration,
) -> Vec<Outcome>
where
    F: Future<Output = Option<u16>> + Send + 'static,
{
    open_loop::run(PER_SECOND, lasting, |n| request(Arc::clone(target), n)).await
}

fn latencies(name: &str, outcomes: &[Outcome], bar: f64) -> Vec<Figure> {
    let bad = outcomes.iter().filter(|outcome| !outcome.is_good()).count();
    let times: Vec<_> = outcomes.iter().map(|outcome| outcome.took).collect();
    let figure = |percent| {
        let name = format!("{name}_{PER_SECOND}_per_second_p{percent}");
        Figure::new(name, percentile(&times, percent).as_secs_f64() * 1e3, "ms")
    };
    vec![
        Figure::new(format!("{name}_failed"), count(bad), "").at_most(0.0),
        figure(50),
        figure(99).at_most(bar),
    ]
}

/// Good answers a second when each of some workers asks again as soon as it is answered.
async fn capacity(target: &Arc<Target>) -> f64 {
    let begun = Instant::now();
    let mut workers = JoinSet::new();
    for worker in 0..WORKERS {
        let target = Arc::clone(target);
        workers.spawn(async move {
            let mut good = 0;
            for n in (worker..).step_by(WORKERS) {
                if begun.elapsed() > STEADY {
                    break;
                }
                let status = Arc::clone(&target).mixed(n).await;
                good += usize::from(status.is_some_and(|status| status < 400));
            }
            good
        });
    }
    count(workers.join_all().await.into_iter().sum()) / begun.elapsed().as_secs_f64()
}

/// Several times the capacity, for some time; meanwhile somebody asks for the health.
async fn flood(
    installation: &Installation,
    target: &Arc<Target>,
    capacity: f64,
    factor: f64,
) -> Result<Flood> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate"
    )]
    let per_second = ((capacity * factor) as u32).max(1);
    let url = format!("http://{}/healthz", installation.health);
    let asking = tokio::spawn(health(url));
    let outcomes = open_loop::run(per_second, FLOOD, |n| Arc::clone(target).mixed(n)).await;
    Ok(Flood {
        capacity,
        factor,
        lasting: FLOOD,
        outcomes,
        health: asking.await??,
    })
}

/// How long each answer took over the flood; none where it was not a good one.
async fn health(url: String) -> Result<Vec<Option<Duration>>> {
    let client = reqwest::Client::builder().timeout(HEALTH_WITHIN).build()?;
    let begun = Instant::now();
    let mut answers = Vec::new();
    while begun.elapsed() < FLOOD {
        let asked = Instant::now();
        let answer = client.get(&url).send().await;
        let is_good = answer.is_ok_and(|answer| answer.status().is_success());
        answers.push(is_good.then(|| asked.elapsed()));
        sleep(HEALTH_EVERY).await;
    }
    Ok(answers)
}
