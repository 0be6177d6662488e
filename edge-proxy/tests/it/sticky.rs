//! A cookie keeps a user with one instance, for as long as that one can be used.

use domain::spec::Sticky;
use protocol::item::RoutePolicy;

use crate::support::{Instance, Region, client};

/// What a user who sends these cookies gets: who answered, and the cookie that is set.
async fn ask(region: &Region, cookies: &str) -> (String, Option<String>) {
    let answer = client(&region.ca, region.edge.https)
        .get("https://sticky.wild.test/")
        .header("cookie", cookies)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    let set = answer.headers().get("set-cookie");
    let set = set.map(|value| value.to_str().unwrap().to_owned());
    (answer.text().await.unwrap(), set)
}

#[tokio::test]
async fn a_user_stays_with_an_instance_while_that_one_lives() {
    let region = Region::start().await;
    let second = Instance::start("two", region.agent.node_id).await;
    region.agent.holds(region.service, &second);
    let both = [&region.instance, &second];
    let policy = RoutePolicy {
        sticky: Some(Sticky::Cookie),
        ..RoutePolicy::default()
    };
    let routes = region.routes.clone();
    let routes = routes.hostname_by("sticky.wild.test", region.service, policy);
    let routes = routes.service(region.service, &both);
    region
        .edge
        .publish_and_settle(&routes, region.service, &both)
        .await;

    let (first, set) = ask(&region, "other=1").await;
    let set = set.expect("a cookie");
    assert!(
        set.ends_with("; Path=/; HttpOnly; SameSite=Lax; Secure"),
        "{set}"
    );
    let cookie = format!("other=1; {}", set.split(';').next().unwrap());
    for _ in 0..20 {
        assert_eq!(ask(&region, &cookie).await, (first.clone(), None));
    }

    let (dies, lives) = match first.as_str() {
        "one" => (region.instance.spec, "two"),
        _ => (second.spec, "one"),
    };
    let living = both.into_iter().find(|i| i.spec != dies).unwrap();
    let routes = region.routes.clone();
    let policy = RoutePolicy {
        sticky: Some(Sticky::Cookie),
        ..RoutePolicy::default()
    };
    let routes = routes.hostname_by("sticky.wild.test", region.service, policy);
    let routes = routes.service(region.service, &[living]);
    region
        .edge
        .publish_and_settle(&routes, region.service, &[living])
        .await;
    let (answered, set) = ask(&region, &cookie).await;
    assert_eq!(answered, lives);
    assert!(set.is_some(), "it is with the other one from now on");
}

#[tokio::test]
async fn where_the_service_does_not_ask_for_it_no_cookie_is_set() {
    let region = Region::start().await;
    let answer = client(&region.ca, region.edge.https)
        .get("https://app.test/")
        .send()
        .await
        .unwrap();
    assert!(answer.headers().get("set-cookie").is_none());
}
