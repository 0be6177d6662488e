//! A change of version under load: no request fails, whatever its kind.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use edge_proxy::upstream::endpoint::Endpoint;

use crate::support::{Instance, Region, client, http1_only, until};

#[derive(Default)]
struct Load {
    stop: AtomicBool,
    done: AtomicUsize,
}

async fn hammer(client: reqwest::Client, kind: usize, load: Arc<Load>) {
    while !load.stop.load(Ordering::Relaxed) {
        let request = match kind % 4 {
            0 => client.get("https://app.test/"),
            1 => client.post("https://app.test/echo").body(vec![1; 200_000]),
            2 => client.get("https://app.test/stream?pieces=5&every_ms=40"),
            _ => client.get("https://app.test/slow?pieces=0&every_ms=20"),
        };
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let body = answer.bytes().await.unwrap();
        assert!(!body.is_empty());
        load.done.fetch_add(1, Ordering::Relaxed);
    }
}

fn endpoints(region: &Region) -> Vec<Arc<Endpoint>> {
    let routes = region.edge.running.state.routes.load();
    routes.service(region.service).unwrap().endpoints().to_vec()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_are_replaced_again_and_again_under_load() {
    let region = Region::start().await;
    let load = Arc::new(Load::default());
    let users: Vec<_> = (0..16)
        .map(|n| {
            let client = match n / 4 % 2 {
                0 => client(&region.ca, region.edge.https),
                _ => http1_only(&region.ca, region.edge.https),
            };
            tokio::spawn(hammer(client, n, load.clone()))
        })
        .collect();
    let mut current = Instance::start("v1", region.agent.node_id).await;
    region.agent.holds(region.service, &current);
    for _ in 0..5 {
        let next = Instance::start("next", region.agent.node_id).await;
        region.agent.holds(region.service, &next);
        let routes = region.routes.clone().service(region.service, &[&next]);
        let before = endpoints(&region);
        region
            .edge
            .publish_and_settle(&routes, region.service, &[&next])
            .await;
        // As the agent does it: the old one finishes what it has begun, then it is gone.
        until("the old one is idle", async || {
            before.iter().all(|endpoint| endpoint.in_flight() == 0)
        })
        .await;
        std::mem::replace(&mut current, next).kill().await;
        let goal = load.done.load(Ordering::Relaxed) + 50;
        until("traffic goes on", async || {
            load.done.load(Ordering::Relaxed) >= goal
        })
        .await;
    }
    load.stop.store(true, Ordering::Relaxed);
    for user in users {
        user.await.unwrap();
    }
    let failed: u64 = region
        .edge
        .running
        .state
        .counters
        .snapshot()
        .values()
        .map(|c| c.failed)
        .sum();
    assert_eq!(failed, 0);
}

#[tokio::test]
async fn new_endpoints_are_acknowledged_only_when_they_are_in_use() {
    let region = Region::start().await;
    let next = Instance::start("next", region.agent.node_id).await;
    let mut routes = region.routes.clone().service(region.service, &[&next]);
    routes.generation = 7;
    region.edge.publish(&routes);
    let applied = region.edge.running.applied.clone();
    let acknowledged = || applied.borrow().region.as_ref().map(|c| c.generation.0) == Some(7);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!acknowledged(), "its agent has not confirmed it");
    region.agent.holds(region.service, &next);
    until("the acknowledgement", async || acknowledged()).await;
    let routes = region.edge.running.state.routes.load();
    assert!(
        routes
            .service(region.service)
            .unwrap()
            .endpoints()
            .iter()
            .all(|e| e.is_usable())
    );
}

#[tokio::test]
async fn a_drain_lets_requests_finish_and_ends_when_they_have() {
    let region = Region::start().await;
    for client in [
        client(&region.ca, region.edge.https),
        http1_only(&region.ca, region.edge.https),
    ] {
        client
            .get("https://app.test/")
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
    }
    let slow = client(&region.ca, region.edge.https);
    let running = tokio::spawn(async move {
        let answer = slow
            .get("https://app.test/stream?pieces=10&every_ms=100")
            .send()
            .await
            .unwrap();
        answer.text().await.unwrap()
    });
    until("the stream runs", async || region.instance.requests() == 3).await;
    let begun = Instant::now();
    region.edge.running.drain.run(Duration::from_secs(20)).await;
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(running.await.unwrap().lines().count(), 10);
    assert!(
        tokio::net::TcpStream::connect(region.edge.https)
            .await
            .is_err(),
        "still accepting"
    );
}
