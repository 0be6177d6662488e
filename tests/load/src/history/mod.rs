//! A platform with a year behind it: deployments go on at a steady rate, and lists stay quick.

mod seed;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use reqwest::Method;
use serde_json::{Value, json};
use testkit::fake_edge::FakeEdge;
use tokio::{task::JoinHandle, time::sleep};

use crate::{
    agents,
    client::{Client, text},
    figure::{Figure, count, percentile, tell},
    installation::{Installation, REGION},
    open_loop::{self, Outcome},
};

const DEPLOYMENTS_PER_SECOND: u32 = 4;
const LISTS_PER_SECOND: u32 = 5;
/// Each is deployed once a minute.
const SERVICES: usize = 240;
const AGENTS: usize = 100;
const EDGES: usize = 2;
const LISTS_MILLISECONDS: f64 = 50.0;
/// More waiting at the end than at the beginning than comes in a second is a queue that grows.
const GROWTH: f64 = DEPLOYMENTS_PER_SECOND as f64;
/// In the order in which labels are served.
const FAILED_BY_THE_PLATFORM: &str =
    "railhead_deployments_ended_total{cause=\"platform\",state=\"failed\"}";
/// After the last was asked for.
const FINISHED: Duration = Duration::from_secs(60);

/// Seeds a year and goes on for some minutes.
pub async fn run(deployments: i64, lasting: Duration) -> Result<Vec<Figure>> {
    let installation = Installation::new("").await?;
    let client = &installation.client;
    let environment = client.environment("history").await?;
    let begun = Instant::now();
    seed::year(&installation.pool, &environment, deployments).await?;
    let mut figures = vec![
        Figure::new("seeding", begun.elapsed().as_secs_f64(), "s"),
        Figure::new(
            "database",
            seed::gibibytes(&installation.pool).await?,
            "GiB",
        ),
    ];
    tell(&figures);
    let services = services(client, &environment).await?;
    let _agents = agents::join(&installation, AGENTS).await?;
    let mut edges = Vec::new();
    for n in 0..EDGES {
        let token = client.join_token(REGION, "edge").await?;
        edges.push(
            FakeEdge::join(installation.node_url.clone(), &token, &format!("edge-{n}")).await?,
        );
    }
    let queue = watch_queue(&installation, lasting);
    let (asked, lists) = tokio::join!(
        deploy(client, &services, lasting),
        look(client, &environment, lasting)
    );
    figures.extend(queue_figures(&queue.await?));
    figures.extend(deployment_figures(&installation, &asked).await?);
    figures.extend(list_figures(&lists?));
    Ok(figures)
}

/// Services whose first deployment is still to come, beside those that have a history.
async fn services(client: &Client, environment: &str) -> Result<Arc<[String]>> {
    let path = format!("/v1/environments/{environment}/services");
    let made = stream::iter(0..SERVICES).map(|n| {
        let wanted = json!({ "name": format!("busy-{n}"), "spec": {
            "source": { "repo": "https://git.example.com/acme/shop.git" },
            "network": { "port": 8080 },
        } });
        let path = &path;
        async move { text(&client.post(path, &wanted).await?, "id") }
    });
    let ids: Vec<_> = made.buffered(4).try_collect().await?;
    Ok(ids.into())
}

async fn deploy(client: &Client, services: &Arc<[String]>, lasting: Duration) -> Vec<Outcome> {
    open_loop::run(DEPLOYMENTS_PER_SECOND, lasting, |n| {
        let (client, services) = (client.clone(), Arc::clone(services));
        async move {
            let service = services.get(n % services.len())?;
            let path = format!("/v1/services/{service}/deployments");
            let wanted = json!({ "source": { "from": "git" } });
            let answer = client.request(Method::POST, &path).json(&wanted).send();
            Some(answer.await.ok()?.status().as_u16())
        }
    })
    .await
}

/// Looks at the lists that grow with history, at their first page and further back.
async fn look(client: &Client, environment: &str, lasting: Duration) -> Result<Vec<Outcome>> {
    let organizations = client.get("/v1/organizations").await?;
    let organization = text(&organizations["items"][0], "id")?;
    let services = client
        .get(&format!(
            "/v1/environments/{environment}/services?limit=100"
        ))
        .await?;
    let ids: Vec<String> = services["items"]
        .as_array()
        .context("no services")?
        .iter()
        .map(|service| text(service, "id"))
        .collect::<Result<_>>()?;
    let mut paths = vec![
        format!("/v1/environments/{environment}/services"),
        format!("/v1/organizations/{organization}/audit-events"),
    ];
    for id in &ids {
        let first = format!("/v1/services/{id}/deployments");
        let page = client.get(&first).await?;
        paths.push(format!("/v1/services/{id}/releases"));
        paths.extend(next_page(&first, &page));
        paths.push(first);
    }
    let paths: Arc<[String]> = paths.into();
    let outcomes = open_loop::run(LISTS_PER_SECOND, lasting, |n| {
        let (client, paths) = (client.clone(), Arc::clone(&paths));
        async move {
            let answer = client
                .request(Method::GET, paths.get(n % paths.len())?)
                .send();
            let answer = answer.await.ok()?;
            let status = answer.status().as_u16();
            answer.bytes().await.ok()?;
            Some(status)
        }
    });
    Ok(outcomes.await)
}

fn next_page(path: &str, page: &Value) -> Option<String> {
    let cursor = page["next_cursor"].as_str()?;
    Some(format!("{path}?cursor={cursor}"))
}

/// How many deployments have not ended, each second.
fn watch_queue(installation: &Installation, lasting: Duration) -> JoinHandle<Vec<i64>> {
    let pool = installation.pool.clone();
    let begun = Instant::now();
    tokio::spawn(async move {
        let mut lengths = Vec::new();
        while begun.elapsed() < lasting {
            sleep(Duration::from_secs(1)).await;
            let length = "select count(*) from deployment where finished_at is null";
            let length: Result<i64, _> = sqlx::query_scalar(length).fetch_one(&pool).await;
            lengths.extend(length.ok());
        }
        lengths
    })
}

/// The first third, in which the first deployments of all services are made, against the last.
fn queue_figures(lengths: &[i64]) -> Vec<Figure> {
    let third = lengths.len() / 3;
    #[expect(clippy::cast_precision_loss, reason = "some hundred")]
    let mean = |part: &[i64]| part.iter().sum::<i64>() as f64 / count(part.len().max(1));
    let (first, last) = (
        mean(&lengths[..third]),
        mean(&lengths[lengths.len() - third..]),
    );
    vec![
        Figure::new("queue_mean_of_the_first_third", first, "deployments"),
        Figure::new("queue_mean_of_the_last_third", last, "deployments"),
        Figure::new("queue_growth", last - first, "deployments").at_most(GROWTH),
    ]
}

/// So many at least must have come to serve for "none of 1,000 failed" to say anything: what the next one of its service
/// overtook does not count.
const CALM: f64 = 1_000.0;

async fn deployment_figures(installation: &Installation, asked: &[Outcome]) -> Result<Vec<Figure>> {
    let accepted = asked.iter().filter(|outcome| outcome.is_good()).count();
    let begun = Instant::now();
    let mut unfinished = 1;
    while unfinished > 0 && begun.elapsed() < FINISHED {
        sleep(Duration::from_millis(200)).await;
        unfinished = seed::unfinished(&installation.pool).await?;
    }
    let ended = seed::ended(&installation.pool).await?;
    let ours = installation.metric(FAILED_BY_THE_PLATFORM).await?;
    let refused = count(asked.len() - accepted);
    Ok(vec![
        Figure::new("deployments_asked_for", count(asked.len()), ""),
        Figure::new("deployments_live", count(ended.live), "").needed(CALM),
        Figure::new("deployments_refused", refused, "").at_most(0.0),
        Figure::new(
            "deployments_unfinished_after_a_minute",
            count(unfinished),
            "",
        )
        .at_most(0.0),
        Figure::new("deployments_failed", count(ended.failed), "").at_most(0.0),
        Figure::new("deployments_failed_by_the_platform", ours, "").at_most(0.0),
        Figure::new("deployment_until_live_p50", ended.p50_seconds, "s"),
        Figure::new("deployment_until_live_p99", ended.p99_seconds, "s"),
    ])
}

fn list_figures(lists: &[Outcome]) -> Vec<Figure> {
    let times: Vec<_> = lists.iter().map(|outcome| outcome.took).collect();
    let failed = lists.iter().filter(|outcome| !outcome.is_good()).count();
    let figure = |percent| {
        let value = percentile(&times, percent).as_secs_f64() * 1e3;
        Figure::new(format!("lists_p{percent}"), value, "ms")
    };
    vec![
        figure(50),
        figure(99).at_most(LISTS_MILLISECONDS),
        Figure::new("lists_failed", count(failed), "").at_most(0.0),
    ]
}
