//! Limits of rate that two servers count together in a real Redis, and without it.

use std::time::{Duration, Instant};

use redis::Commands as _;
use reqwest::Method;
use serde_json::json;
use testkit::{redis::Redis, wait::until};

use super::{
    platform_status::{codes, status},
    world::{Server, World, read},
};
use crate::orchestration::platform::DEADLINE;

/// Two servers with these limits per minute and one Redis.
async fn two(reads: u32, logins: u32, redis: &Redis) -> (World, Server) {
    let more = format!(
        "[limits]\nreads_per_minute = {reads}\nlogins_per_minute = {logins}\n[redis]\nurl = \"{}\"",
        redis.url()
    );
    let world = World::with(&more).await;
    let second = world.second_server().await;
    (world, second)
}

/// The status of one read, and what it says remains.
async fn ask(world: &World, server: &Server) -> (u16, String) {
    let began = Instant::now();
    let answer = server.get(&world.acme.owner, "/v1/me").await;
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "nobody waits long for Redis"
    );
    let remaining = answer.headers["ratelimit-remaining"].to_str().unwrap();
    (answer.status.as_u16(), remaining.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_has_one_quota_at_both_servers_and_is_forgotten_in_time() {
    let redis = Redis::start().await;
    let (world, second) = two(3, 10, &redis).await;
    for (server, expected) in [
        (&world.server, (200, "2")),
        (&second, (200, "1")),
        (&world.server, (200, "0")),
        (&second, (429, "0")),
        (&world.server, (429, "0")),
    ] {
        let (status, remaining) = ask(&world, server).await;
        assert_eq!((status, remaining.as_str()), expected);
    }
    let mut connection = redis.client().get_connection().unwrap();
    let keys: Vec<String> = connection.keys("railhead:rate:*").unwrap();
    assert_eq!(keys.len(), 2, "the token's and the address's: {keys:?}");
    for key in keys {
        let left: i64 = connection.pttl(&key).unwrap();
        assert!((1..=60_000).contains(&left), "{key} lives for {left} ms");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_in_is_counted_together() {
    let redis = Redis::start().await;
    let (world, second) = two(1_000, 2, &redis).await;
    let attempt = async |server: &Server| {
        let body = json!({ "email": "nobody@example.test", "password": "wrong" });
        read(
            server
                .request(Method::POST, "/v1/sessions", None)
                .json(&body),
        )
        .await
    };
    attempt(&world.server).await.expect(401);
    attempt(&second).await.expect(401);
    let refused = attempt(&world.server).await.expect(429);
    let wait: u64 = refused.headers["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((1..=30).contains(&wait), "{wait}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_requests_go_on_and_are_counted_here_until_it_is_back() {
    let mut redis = Redis::start().await;
    let (world, second) = two(6, 10, &redis).await;
    assert_eq!(ask(&world, &world.server).await.1, "5");
    assert_eq!(ask(&world, &second).await.1, "4");
    redis.kill();
    // Each has counted what it saw itself.
    for remaining in ["4", "3", "2"] {
        let alone = (200, remaining.to_owned());
        assert_eq!(ask(&world, &world.server).await, alone);
        assert_eq!(ask(&world, &second).await, alone);
    }
    redis.start_again().await;
    // A Redis that has lost all begins anew: only then can more remain than either has counted.
    until(DEADLINE, async || {
        let remaining = ask(&world, &second).await.1;
        remaining.parse::<u32>().unwrap() > 2
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_names_a_redis_that_is_away() {
    let mut redis = Redis::start().await;
    let (world, _second) = two(1_000_000, 10, &redis).await;
    let told = async || codes(&status(&world).await).contains(&"redis_away");
    assert!(!told().await);
    redis.kill();
    // The request that asks is the first to find out.
    assert!(told().await);
    redis.start_again().await;
    until(DEADLINE, async || !told().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_stands_still_holds_nobody_up() {
    let redis = Redis::start().await;
    let (world, _second) = two(10, 10, &redis).await;
    ask(&world, &world.server).await;
    redis.signal("-STOP");
    let began = Instant::now();
    for remaining in ["8", "7", "6", "5", "4"] {
        let alone = (200, remaining.to_owned());
        assert_eq!(ask(&world, &world.server).await, alone);
    }
    let took = began.elapsed();
    redis.signal("-CONT");
    assert!(took < Duration::from_secs(2), "five requests took {took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_starts_without_its_redis() {
    let more = "[redis]\nurl = \"unix:///nowhere/redis.sock\"";
    let world = World::with(more).await;
    assert_eq!(ask(&world, &world.server).await, (200, "999".to_owned()));
}
