//! One host name, two services.

use domain::id::ServiceId;

use crate::support::{Instance, Region, client};

#[tokio::test]
async fn a_part_of_a_hosts_paths_goes_to_another_service() {
    let region = Region::start().await;
    let (service, instance) = (
        ServiceId::new(),
        Instance::start("api", region.agent.node_id).await,
    );
    region.agent.holds(service, &instance);
    let routes = region.routes.clone();
    let routes = routes
        .path("app.test", "/headers", service)
        .path("only.wild.test", "/slow", service)
        .service(region.service, &[&region.instance])
        .service(service, &[&instance]);
    region
        .edge
        .publish_and_settle(&routes, service, &[&instance])
        .await;
    let client = client(&region.ca, region.edge.https);
    let ask = async |url: &str| client.get(url).send().await.unwrap();

    assert_eq!(ask("https://app.test/").await.text().await.unwrap(), "one");
    assert_eq!(
        ask("https://app.test/headers/x").await.status(),
        404,
        "its own"
    );
    let seen: serde_json::Value = ask("https://app.test/headers?a=/")
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(seen["_uri"], "/headers?a=/");
    assert_eq!(region.instance.requests(), 1, "the rest only");
    let log = region.edge.log(3).await;
    assert_eq!(log[2]["service_id"], service.to_string());

    let rest = ask("https://only.wild.test/").await;
    assert_eq!(
        rest.text().await.unwrap(),
        "one",
        "the wildcard has the rest"
    );
}
