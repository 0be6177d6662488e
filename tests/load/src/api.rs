//! The public API at a steady rate, and at several times what it can do.

use std::{
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use futures::future::try_join_all;
use reqwest::Method;
use serde_json::json;
use tokio::{task::JoinSet, time::sleep};

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
/// Later than this an answer is of no use to anybody.
const USEFUL: Duration = Duration::from_secs(1);
const MEMORY_MEBIBYTES: f64 = 120.0;
const HEALTH_EVERY: Duration = Duration::from_millis(50);

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
    figures.extend(latencies("reads", &reads, 20.0)?);
    let writes = steady(&target, Target::write, STEADY).await;
    figures.extend(latencies("writes", &writes, 60.0)?);
    let capacity = capacity(&target).await;
    figures.push(Figure::new("capacity", capacity, "requests/s"));
    tell(&figures);
    for factor in FLOODS {
        sleep(CALM).await;
        let of_flood = flood(&installation, &target, capacity, factor).await?;
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

fn latencies(name: &str, outcomes: &[Outcome], bar: f64) -> Result<Vec<Figure>> {
    let bad = outcomes.iter().filter(|outcome| !outcome.is_good()).count();
    ensure!(bad == 0, "{bad} of {} {name} failed", outcomes.len());
    let times: Vec<_> = outcomes.iter().map(|outcome| outcome.took).collect();
    let figure = |percent| {
        let name = format!("{name}_{PER_SECOND}_per_second_p{percent}");
        Figure::new(name, percentile(&times, percent).as_secs_f64() * 1e3, "ms")
    };
    Ok(vec![figure(50), figure(99).at_most(bar)])
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
) -> Result<Vec<Figure>> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate"
    )]
    let per_second = (capacity * factor) as u32;
    let url = format!("http://{}/healthz", installation.health);
    let asking = tokio::spawn(health(url));
    let outcomes = open_loop::run(per_second, FLOOD, |n| Arc::clone(target).mixed(n)).await;
    let worst = asking.await??;
    let useful = |outcome: &&Outcome| outcome.is_good() && outcome.took <= USEFUL;
    let good = outcomes.iter().filter(useful).count();
    let shed = outcomes.iter().filter(|o| o.status == Some(503)).count();
    let unanswered = outcomes.iter().filter(|o| o.status.is_none()).count();
    let share = |n| count(n) / count(outcomes.len()) * 100.0;
    let goodput = count(good) / FLOOD.as_secs_f64() / capacity * 100.0;
    let named = |what| format!("{what}_at_{factor}_times_the_capacity");
    let worst = worst.as_secs_f64() * 1e3;
    Ok(vec![
        Figure::new(named("offered"), f64::from(per_second), "requests/s"),
        Figure::new(named("goodput"), goodput, "% of capacity").at_least(90.0),
        Figure::new(named("shed"), share(shed), "%"),
        Figure::new(named("unanswered"), share(unanswered), "%"),
        Figure::new(named("longest_health_answer"), worst, "ms").at_most(500.0),
    ])
}

/// The longest that an answer took, over the flood.
async fn health(url: String) -> Result<Duration> {
    let client = reqwest::Client::builder().build()?;
    let begun = Instant::now();
    let mut worst = Duration::ZERO;
    while begun.elapsed() < FLOOD {
        let asked = Instant::now();
        client.get(&url).send().await?.error_for_status()?;
        worst = worst.max(asked.elapsed());
        sleep(HEALTH_EVERY).await;
    }
    Ok(worst)
}
