//! Rate limits: one edge by itself, several that count together in a real Redis, and without it.

use std::sync::Arc;

use protocol::join::Role;
use serde_json::json;
use testkit::redis::Redis;

use crate::support::{Agent, Ca, Extras, Instance, Routes, TestEdge, as_user, http1_only, until};

const HOST: &str = "app.test";
const EDGES: usize = 3;

/// Three edges of one region, one instance, and a limit for all of them.
struct World {
    ca: Ca,
    edges: Vec<TestEdge>,
    _instance: Instance,
    _agent: Agent,
}

impl World {
    async fn start(redis: Option<String>, limit: serde_json::Value) -> Self {
        let ca = Ca::new();
        let agent = Agent::start(&ca, "us-east").await;
        let service = domain::id::ServiceId::new();
        let instance = Instance::start("one", agent.node_id).await;
        agent.holds(service, &instance);
        let rules = json!([{ "name": "few", "if": "true", "then": limit }]);
        let mut routes = Routes::default()
            .certificate(&ca, &[HOST])
            .plain_hostname(HOST, service)
            .agent(&agent)
            .rules(service, rules)
            .service(service, &[&instance]);
        let extras = Extras {
            redis,
            ..Extras::default()
        };
        let mut edges = Vec::new();
        for _ in 0..EDGES {
            let dir = Arc::new(tempfile::tempdir().unwrap());
            let identity = ca.node("us-east", Role::Edge);
            let edge = TestEdge::start_with(identity, &routes, dir, extras.clone()).await;
            routes = routes.edge(&edge);
            edges.push(edge);
        }
        for edge in &edges {
            edge.publish_and_settle(&routes, service, &[&instance])
                .await;
            until("all edges are known", async || {
                edge.running.state.routes.load().edges().len() == EDGES
            })
            .await;
        }
        Self {
            ca,
            edges,
            _instance: instance,
            _agent: agent,
        }
    }

    /// Likewise, once they count together.
    async fn sharing(redis: &Redis, limit: serde_json::Value) -> Self {
        let world = Self::start(Some(redis.url()), limit).await;
        until("Redis is used", async || {
            world.edges.iter().all(|edge| !is_degraded(edge))
        })
        .await;
        world
    }
}

fn is_degraded(edge: &TestEdge) -> bool {
    edge.running.state.metrics.limit_degraded().get() == 1
}

fn get(more: &str) -> String {
    format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n{more}connection: close\r\n\r\n")
}

async fn status_for(edge: &TestEdge, user: &str) -> String {
    let answer = as_user(edge.http, user, &get("")).await;
    answer.get(9..12).unwrap_or_default().to_owned()
}

#[tokio::test]
async fn each_address_has_its_own_and_ipv6_counts_by_networks() {
    let world = World::start(
        None,
        json!({ "action": "rate_limit", "key": "ip", "limit": 6, "window": "1d" }),
    )
    .await;
    let edge = &world.edges[0];
    for (one, other) in [
        ("203.0.113.7", "203.0.113.7"),
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2"),
    ] {
        assert_eq!(status_for(edge, one).await, "200");
        assert_eq!(status_for(edge, other).await, "200", "its share is two");
        assert_eq!(status_for(edge, one).await, "429", "{one}");
        assert_eq!(status_for(edge, other).await, "429", "{other}");
    }
    assert_eq!(status_for(edge, "203.0.113.8").await, "200");
    assert_eq!(status_for(edge, "2001:db8:0:2::1").await, "200");

    let refused = as_user(edge.http, "203.0.113.7", &get("")).await;
    for part in [
        "x-railhead-error: rate_limited",
        "ratelimit-limit: 6",
        "ratelimit-remaining: 0",
        "retry-after: ",
    ] {
        assert!(refused.contains(part), "no {part} in {refused}");
    }
    assert!(!refused.contains("x-railhead-limit"), "{refused}");
}

#[tokio::test]
async fn answers_that_pass_say_what_is_left_where_the_rule_wants_it() {
    let world = World::start(
        None,
        json!({ "action": "rate_limit", "key": "header:x-tenant", "limit": 30, "window": "1d", "headers": true }),
    )
    .await;
    for (tenant, remaining) in [("a", 9), ("a", 8), ("b", 9)] {
        let request = get(&format!("x-tenant: {tenant}\r\n"));
        let answer = as_user(world.edges[0].http, "203.0.113.7", &request).await;
        let said = format!("ratelimit-remaining: {remaining}");
        assert!(answer.contains(&said), "{tenant}: {answer}");
    }
}

/// Requests to all edges in turn, until none has let any through for a while; how many passed.
async fn exhaust(world: &World) -> usize {
    let clients: Vec<_> = world
        .edges
        .iter()
        .map(|edge| http1_only(&world.ca, edge.https))
        .collect();
    let url = format!("https://{HOST}/");
    let (mut passed, mut refused_rounds) = (0, 0);
    while refused_rounds < 100 {
        let mut round = 0;
        for client in &clients {
            let answer = client.get(&url).send().await.unwrap();
            match answer.status().as_u16() {
                200 => round += 1,
                429 => {}
                other => panic!("answered {other}"),
            }
        }
        passed += round;
        refused_rounds = if round == 0 { refused_rounds + 1 } else { 0 };
    }
    passed
}

#[tokio::test]
async fn three_edges_let_through_what_one_would() {
    let redis = Redis::start().await;
    for limit in [30, 300] {
        let world = World::sharing(
            &redis,
            json!({ "action": "rate_limit", "key": "service", "limit": limit, "window": "1d" }),
        )
        .await;
        let passed = exhaust(&world).await;
        assert!(
            (limit * 9 / 10..=limit * 11 / 10).contains(&passed),
            "{passed} of {limit}"
        );
    }
}

#[tokio::test]
async fn without_redis_no_request_fails_and_edges_say_that_they_go_by_their_share() {
    let mut redis = Redis::start().await;
    let world = World::sharing(
        &redis,
        json!({ "action": "rate_limit", "key": "ip", "limit": 9, "window": "1d", "headers": true }),
    )
    .await;
    let mut users = (1..).map(|n: u32| format!("203.0.{}.{}", n / 250, n % 250));
    let mut ask_all = async || {
        let user = users.next().unwrap();
        let mut answers = Vec::new();
        for edge in &world.edges {
            let answer = as_user(edge.http, &user, &get("")).await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            answers.push(answer);
        }
        answers
    };
    for _ in 0..10 {
        ask_all().await;
    }
    redis.kill();
    until("edges notice", async || {
        ask_all().await;
        world.edges.iter().all(is_degraded)
    })
    .await;
    for answer in ask_all().await {
        assert!(answer.contains("x-railhead-limit: degraded"), "{answer}");
    }
    let edge = &world.edges[0];
    for expected in ["200", "200", "200", "429"] {
        assert_eq!(status_for(edge, "198.51.100.1").await, expected, "a third");
    }
    redis.start_again().await;
    until("edges count together again", async || {
        ask_all().await;
        world.edges.iter().all(|edge| !is_degraded(edge))
    })
    .await;
}

#[tokio::test]
async fn a_redis_that_stands_still_holds_nobody_up() {
    let redis = Redis::start().await;
    let world = World::sharing(
        &redis,
        json!({ "action": "rate_limit", "key": "ip", "limit": 9, "window": "1d" }),
    )
    .await;
    redis.signal("-STOP");
    for n in 0..30 {
        let user = format!("203.0.113.{n}");
        assert_eq!(status_for(&world.edges[n % EDGES], &user).await, "200");
    }
    until("edges notice", async || world.edges.iter().all(is_degraded)).await;
    redis.signal("-CONT");
}

#[tokio::test]
async fn edges_start_without_their_redis() {
    let nowhere = Some("unix:///nowhere/redis.sock".to_owned());
    let limit = json!({ "action": "rate_limit", "key": "ip", "limit": 3, "window": "1d" });
    let world = World::start(nowhere, limit).await;
    let edge = &world.edges[0];
    assert_eq!(status_for(edge, "203.0.113.7").await, "200");
    let refused = as_user(edge.http, "203.0.113.7", &get("")).await;
    assert!(refused.starts_with("HTTP/1.1 429"), "{refused}");
    assert!(refused.contains("x-railhead-limit: degraded"), "{refused}");
}
