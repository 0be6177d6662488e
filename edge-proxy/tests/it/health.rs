//! Which endpoints are used: confirmed by their agent, passing their probes, not ejected.

use std::time::{Duration, Instant};

use domain::id::DeploymentId;

use edge_proxy::upstream::endpoint::{Confirmed, Health};

use crate::support::{Behaviour, Instance, Region, client, until};

#[tokio::test]
async fn an_endpoint_that_its_agent_does_not_confirm_gets_nothing() {
    let region = Region::start().await;
    let stranger = Instance::start("stranger", region.agent.node_id).await;
    let routes = region.routes.clone().service(region.service, &[&stranger]);
    region.edge.publish(&routes);
    let client = client(&region.ca, region.edge.https);
    until("the change applies", async || {
        let routes = region.edge.running.state.routes.load();
        let pool = routes.service(region.service).unwrap();
        pool.endpoints()
            .iter()
            .any(|e| e.confirmed() == Confirmed::No)
    })
    .await;
    for _ in 0..20 {
        let answer = client.get("https://app.test/").send().await.unwrap();
        assert_eq!(
            answer.text().await.unwrap(),
            "one",
            "the leaving one serves on"
        );
    }
    assert_eq!(stranger.requests(), 0);
    region.agent.holds(region.service, &stranger);
    region.edge.usable(region.service, &[&stranger]).await;
    let answer = client.get("https://app.test/").send().await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "stranger");
}

#[tokio::test]
async fn an_address_that_another_instance_holds_now_gets_nothing() {
    let region = Region::start().await;
    let mut claimed = Instance::start("other tenant", region.agent.node_id).await;
    region.agent.holds(domain::id::ServiceId::new(), &claimed);
    claimed.spec.instance_id = domain::id::InstanceId::new();
    let routes = region.routes.clone().service(region.service, &[&claimed]);
    region.edge.publish(&routes);
    let client = client(&region.ca, region.edge.https);
    for _ in 0..20 {
        assert_eq!(
            client
                .get("https://app.test/")
                .send()
                .await
                .unwrap()
                .text()
                .await
                .unwrap(),
            "one"
        );
    }
    assert_eq!(claimed.requests(), 0);
}

#[tokio::test]
async fn a_dead_instance_costs_no_request() {
    let region = Region::start().await;
    let second = Instance::start("two", region.agent.node_id).await;
    region.agent.holds(region.service, &second);
    let routes = region
        .routes
        .clone()
        .service(region.service, &[&region.instance, &second]);
    region
        .edge
        .publish_and_settle(&routes, region.service, &[&region.instance, &second])
        .await;
    let client = client(&region.ca, region.edge.https);
    region.instance.kill().await;
    for n in 0..40 {
        let request = match n % 2 {
            0 => client.get("https://app.test/"),
            _ => client.post("https://app.test/echo").body("x"),
        };
        assert_eq!(request.send().await.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn an_instance_that_fails_its_http_probe_is_avoided_until_it_passes() {
    let region = Region::start().await;
    let second = Instance::start("two", region.agent.node_id).await;
    region.agent.holds(region.service, &second);
    second.behave(Behaviour::Unhealthy);
    let routes = region.routes.clone().deployed(
        region.service,
        DeploymentId::new(),
        &[&region.instance, &second],
        Some("/health"),
    );
    region
        .edge
        .publish_and_settle(&routes, region.service, &[&region.instance])
        .await;
    let client = client(&region.ca, region.edge.https);
    for _ in 0..20 {
        assert_eq!(
            client
                .get("https://app.test/")
                .send()
                .await
                .unwrap()
                .text()
                .await
                .unwrap(),
            "one"
        );
    }
    second.behave(Behaviour::Healthy);
    region
        .edge
        .usable(region.service, &[&region.instance, &second])
        .await;
}

/// A request of any kind, which nobody can take now.
fn post(client: &reqwest::Client) -> tokio::task::JoinHandle<reqwest::Response> {
    let request = client.post("https://app.test/echo").body(vec![1; 1 << 20]);
    tokio::spawn(async move { request.send().await.unwrap() })
}

#[tokio::test]
async fn a_request_whose_connection_is_refused_waits_until_its_instance_is_back() {
    let region = Region::start().await;
    let spec = region.instance.spec;
    region.instance.kill().await;
    let answer = post(&client(&region.ca, region.edge.https));
    until("the connection was refused", async || {
        let routes = region.edge.running.state.routes.load();
        let pool = routes.service(region.service).unwrap();
        pool.endpoints().iter().all(|e| e.health() == Health::Down)
    })
    .await;
    let _back = Instance::start_again("one", spec).await;
    let answer = answer.await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.text().await.unwrap(), (1 << 20).to_string());
}

#[tokio::test]
async fn what_is_dead_for_longer_is_not_waited_for() {
    let region = Region::start().await;
    region.instance.kill().await;
    let client = client(&region.ca, region.edge.https);
    let at_once = Duration::from_secs(1);
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let asked = Instant::now();
        let answer = client.get("https://app.test/").send().await.unwrap();
        assert_eq!(answer.status(), 503);
        if asked.elapsed() < at_once {
            break;
        }
        assert!(asked < deadline, "requests still wait");
    }
}

#[tokio::test]
async fn all_dead_is_said_with_the_code_and_counted_as_failed() {
    let region = Region::start().await;
    region.instance.kill().await;
    let answer = client(&region.ca, region.edge.https)
        .get("https://app.test/")
        .header("accept", "text/html")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers()["x-railhead-error"], "no_instance");
    assert!(answer.text().await.unwrap().contains("<h1>"));
    region.edge.log(1).await;
    let counts: Vec<_> = region
        .edge
        .running
        .state
        .counters
        .snapshot()
        .into_values()
        .collect();
    assert_eq!((counts[0].requests, counts[0].failed), (1, 1));
}

#[tokio::test]
async fn cut_off_with_all_endpoints_dead_the_agents_name_the_living() {
    let region = Region::start().await;
    let unrouted = Instance::start("unrouted", region.agent.node_id).await;
    region.agent.holds(region.service, &unrouted);
    region.instance.kill().await;
    let client = client(&region.ca, region.edge.https);
    until("the agent's word is taken", async || {
        let answer = client.get("https://app.test/").send().await.unwrap();
        answer.status() == 200 && answer.text().await.unwrap() == "unrouted"
    })
    .await;
}

#[tokio::test]
async fn a_restarted_edge_serves_from_its_disk_while_the_agent_is_away() {
    let region = Region::start().await;
    until("confirmations are on disk", async || {
        let path = region
            .edge
            .access_log
            .with_file_name("confirmed-endpoints.json");
        std::fs::read_to_string(path)
            .is_ok_and(|text| text.contains(&region.instance.address().to_string()))
    })
    .await;
    region.agent.stop().await;
    let routes = region
        .routes
        .clone()
        .service(region.service, &[&region.instance]);
    let edge = region.edge.restart(&routes).await;
    let answer = client(&region.ca, edge.https)
        .get("https://app.test/")
        .timeout(Duration::from_secs(5))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.text().await.unwrap(), "one");
}

#[tokio::test]
async fn an_edge_killed_amid_a_change_goes_on_with_the_old_instance_while_the_agent_is_away() {
    let region = Region::start().await;
    region.agent.stop().await;
    let next = Instance::start("next", region.agent.node_id).await;
    let routes = region.routes.clone().service(region.service, &[&next]);
    region.edge.publish(&routes);
    until("it is on disk that the old one leaves", async || {
        let path = region
            .edge
            .access_log
            .with_file_name("confirmed-endpoints.json");
        std::fs::read_to_string(path).is_ok_and(|text| text.contains("leaving"))
    })
    .await;
    let edge = region.edge.restart(&routes).await;
    let client = client(&region.ca, edge.https);
    for _ in 0..20 {
        let answer = client.get("https://app.test/").send().await.unwrap();
        assert_eq!(answer.text().await.unwrap(), "one");
    }
    assert_eq!(next.requests(), 0, "nobody has confirmed it");
}

#[tokio::test]
async fn an_instance_that_breaks_its_answers_is_ejected_and_idempotent_requests_do_not_notice() {
    let region = Region::start().await;
    let broken = crate::support::MortalSocket::start(region.agent.node_id).await;
    broken.cut();
    region.agent.holds(region.service, &broken.instance);
    let both = [&region.instance, &broken.instance];
    let routes = region.routes.clone().service(region.service, &both);
    region
        .edge
        .publish_and_settle(&routes, region.service, &both)
        .await;
    let client = client(&region.ca, region.edge.https);
    let ejected = || {
        let routes = region.edge.running.state.routes.load();
        let pool = routes.service(region.service).unwrap();
        let all = pool.endpoints().iter();
        all.filter(|e| e.is_ejected())
            .map(|e| e.spec.address)
            .collect::<Vec<_>>()
    };
    // A cut before the request is written counts as refused and takes it out until the next probe, so
    // three failures may take some probes.
    let deadline = Instant::now() + Duration::from_secs(60);
    while ejected().is_empty() && Instant::now() < deadline {
        let answer = client.get("https://app.test/").send().await.unwrap();
        assert_eq!(answer.text().await.unwrap(), "one");
    }
    assert_eq!(ejected(), [broken.instance.address()]);
}
