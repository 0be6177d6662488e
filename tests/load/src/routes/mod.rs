//! Two edges with many routes: how long an instance's change takes until every edge works by it, how soon an
//! edge answers after a crash, and what it weighs.

mod edge;
mod seed;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use control_plane::store::Pools;
use domain::id::ServiceId;
use futures::future::try_join_all;
use serde_json::json;
use testkit::{fake_agent::FakeAgent, wait::until_some};

use self::edge::Edge;
use crate::{
    agents,
    client::text,
    figure::{Figure, percentile, tell},
    installation::Installation,
};

const EDGES: usize = 2;
const CHANGES: usize = 100;
const STARTS: usize = 5;
const SETTLED: Duration = Duration::from_secs(300);
const MEMORY_MEBIBYTES: f64 = 60.0;
const START_SECONDS: f64 = 2.0;

/// The longest that a change may take, in seconds.
const CHANGE_SECONDS: f64 = 0.5;
/// The same beyond some thousand routes.
const CHANGE_SECONDS_OF_MANY: f64 = 2.0;
const MANY: usize = 10_000;

/// Measures each number of routes on an installation of its own.
pub async fn run(sizes: &[usize]) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for routes in sizes {
        let mut installation = Installation::new("").await?;
        let mut edges = seeded(&mut installation, *routes).await?;
        let mut of_size = changes(&installation, &edges, *routes).await?;
        of_size.extend(starts(&mut edges, *routes).await?);
        of_size.extend(memory(&edges, *routes)?);
        tell(&of_size);
        figures.extend(of_size);
    }
    Ok(figures)
}

/// Edges that have all the routes.
async fn seeded(installation: &mut Installation, routes: usize) -> Result<Vec<Edge>> {
    let environment = installation.client.environment("seeded").await?;
    installation.kill()?;
    let pools = Pools::connect(&installation.configuration()?.database).await?;
    seed::routes(&installation.pool, &pools, &environment, routes).await?;
    installation.start().await?;
    let mut edges = Vec::new();
    for n in 0..EDGES {
        edges.push(Edge::join(installation, &format!("edge-{n}")).await?);
    }
    try_join_all(edges.iter().map(|edge| edge.has_hostnames(routes, SETTLED))).await?;
    Ok(edges)
}

/// An instance of a service becomes ready and unready in turn: from the agent's knowledge of it until the
/// last edge has a table that says so.
async fn changes(
    installation: &Installation,
    edges: &[Edge],
    routes: usize,
) -> Result<Vec<Figure>> {
    let agent = agents::join(installation, 1)
        .await?
        .pop()
        .context("no agent")?;
    let service = deployed(installation, &agent).await?;
    try_join_all(edges.iter().map(|edge| edge.endpoints(routes + 1, SETTLED))).await?;
    let mut times = Vec::new();
    for n in 0..CHANGES {
        let ready = n % 2 == 1;
        let begun = Instant::now();
        agent.on_instance(move |item, report| {
            report.ready = ready || item.service_id != service;
        });
        let expected = routes + usize::from(ready);
        let seen = try_join_all(edges.iter().map(|edge| edge.endpoints(expected, SETTLED))).await?;
        times.push(seen.into_iter().max().context("no edge")? - begun);
    }
    let bar = match routes {
        ..MANY => CHANGE_SECONDS,
        MANY.. => CHANGE_SECONDS_OF_MANY,
    };
    let named = |percent| format!("route_change_on_every_edge_{routes}_p{percent}");
    let seconds = |percent| percentile(&times, percent).as_secs_f64();
    Ok(vec![
        Figure::new(named(50), seconds(50), "s"),
        Figure::new(named(99), seconds(99), "s").at_most(bar),
    ])
}

/// One more service, deployed as a tenant does it.
async fn deployed(installation: &Installation, agent: &FakeAgent) -> Result<ServiceId> {
    let client = &installation.client;
    let environment = client.environment("measured").await?;
    let services = format!("/v1/environments/{environment}/services");
    let wanted = json!({ "name": "web", "spec": seed::specification() });
    let service = text(&client.post(&services, &wanted).await?, "id")?;
    let deployments = format!("/v1/services/{service}/deployments");
    let wanted = json!({ "source": { "from": "git" } });
    let deployment = text(&client.post(&deployments, &wanted).await?, "id")?;
    let path = format!("/v1/deployments/{deployment}");
    let state = until_some(SETTLED, async || {
        let state = text(&client.get(&path).await.ok()?, "state").ok()?;
        ["live", "failed"]
            .contains(&state.as_str())
            .then_some(state)
    })
    .await;
    ensure!(
        state == "live",
        "the deployment through {:?} failed",
        agent.node_id()
    );
    Ok(service.parse()?)
}

/// From the start of a killed edge's process to its first answer for a routed name.
async fn starts(edges: &mut [Edge], routes: usize) -> Result<Vec<Figure>> {
    let edge = edges.first_mut().context("no edge")?;
    let mut times = Vec::new();
    for _ in 0..STARTS {
        times.push(edge.restart(&seed::hostname(routes)).await?);
    }
    let worst = times.iter().max().copied().unwrap_or_default();
    let name = format!("edge_start_to_first_answer_{routes}_routes_worst_of_{STARTS}");
    Ok(vec![
        Figure::new(name, worst.as_secs_f64(), "s").at_most(START_SECONDS),
    ])
}

fn memory(edges: &[Edge], routes: usize) -> Result<Vec<Figure>> {
    let weigh = |(edge, since): (&Edge, &str)| {
        let name = format!("edge_resident_{routes}_routes_{since}");
        let figure = Figure::new(name, edge.resident_mebibytes()?, "MiB");
        Ok(match routes {
            1_000 => figure.at_most(MEMORY_MEBIBYTES),
            _ => figure,
        })
    };
    edges
        .iter()
        .zip(["after_start", "after_changes"])
        .map(weigh)
        .collect()
}
