//! What is tried again when an instance took a request and did not answer it: how often, how soon, and how much of all.

use domain::{
    quantity::Span,
    spec::{Retries, Timeouts},
};
use protocol::item::{HostnameItem, RoutePolicy};

use crate::{
    refused::prefer,
    support::{Instance, Region, Rude, client},
};

const HOST: &str = "retry.wild.test";

/// A region whose service has these instances, and no other.
async fn with(
    retries: Retries,
    timeouts: Timeouts,
    rude: &[Rude],
    polite: bool,
) -> (Region, Vec<Instance>) {
    let region = Region::start().await;
    let mut instances = Vec::new();
    for kind in rude {
        instances.push(kind.start(region.agent.node_id).await);
    }
    for instance in &instances {
        region.agent.holds(region.service, instance);
    }
    let mut all: Vec<&Instance> = instances.iter().collect();
    if polite {
        all.push(&region.instance);
    }
    let hostname = HostnameItem {
        hostname: HOST.into(),
        service_id: region.service,
        regions: vec!["us-east".parse().unwrap()],
        https_redirect: true,
        timeouts,
        max_body: None,
        path: None,
        policy: RoutePolicy {
            retries: Some(retries),
            ..RoutePolicy::default()
        },
    };
    let routes = region.routes.clone().hostname_with(hostname);
    let routes = routes.service(region.service, &all);
    region
        .edge
        .publish_and_settle(&routes, region.service, &all)
        .await;
    (region, instances)
}

fn asked(instances: &[Instance]) -> usize {
    instances.iter().map(Instance::requests).sum()
}

#[tokio::test]
async fn a_request_that_breaks_is_tried_again_as_often_as_the_service_says() {
    for attempts in [0, 1, 3] {
        let retries = Retries {
            attempts,
            ..Retries::default()
        };
        let (region, rude) = with(retries, Timeouts::default(), &[Rude::HangsUp; 5], false).await;
        let client = client(&region.ca, region.edge.https);
        let url = format!("https://{HOST}/");
        let answer = client.get(&url).send().await.unwrap();
        assert_eq!(answer.status(), 502);
        assert_eq!(answer.headers()["x-railhead-error"], "instance_failed");
        assert_eq!(asked(&rude), 1 + attempts as usize);
        let answer = client.post(&url).body("x").send().await.unwrap();
        assert_eq!(answer.status(), 502);
        assert_eq!(asked(&rude), 2 + attempts as usize, "a POST is sent once");
    }
}

#[tokio::test]
async fn of_many_requests_a_fifth_is_tried_again() {
    const REQUESTS: usize = 150;
    let (region, rude) = with(
        Retries::default(),
        Timeouts::default(),
        &[Rude::HangsUp; 5],
        false,
    )
    .await;
    let client = client(&region.ca, region.edge.https);
    for _ in 0..REQUESTS {
        let answer = client.get(format!("https://{HOST}/")).send().await.unwrap();
        assert_eq!(answer.status(), 502);
    }
    let again = asked(&rude) - REQUESTS;
    // A machine that is slow takes many times ten seconds, in each of which ten are free.
    assert!((10..REQUESTS).contains(&again), "{again}");
}

#[tokio::test]
async fn an_instance_that_is_silent_is_given_up_early_where_another_one_can_answer() {
    let retries = Retries {
        attempts: 2,
        per_try: Span::milliseconds(200),
    };
    let timeouts = Timeouts {
        first_byte: Span::seconds(2),
        ..Timeouts::default()
    };
    let (region, silent) = with(retries, timeouts, &[Rude::IsSilent], true).await;
    let client = client(&region.ca, region.edge.https);
    let url = format!("https://{HOST}/");
    prefer(&region, &silent[0]);
    let answer = client.get(&url).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.text().await.unwrap(), "one");
    assert_eq!(region.edge.log(1).await[0]["tries"], 2);

    let answer = client.post(&url).body("x").send().await.unwrap();
    assert_eq!(answer.status(), 504, "it may have been done");
    assert_eq!(answer.headers()["x-railhead-error"], "first_byte_timeout");
}

#[tokio::test]
async fn the_only_instance_has_all_the_time_to_answer() {
    let retries = Retries {
        attempts: 2,
        per_try: Span::milliseconds(50),
    };
    let (region, _) = with(retries, Timeouts::default(), &[], true).await;
    let answer = client(&region.ca, region.edge.https)
        .get(format!("https://{HOST}/slow?pieces=0&every_ms=500"))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.text().await.unwrap(), "at last");
    assert_eq!(region.instance.requests(), 1);
}
