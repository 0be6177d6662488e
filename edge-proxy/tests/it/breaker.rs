//! One bad instance of three: what it costs users, and when it is back.

use std::sync::Arc;

use domain::{quantity::Span, spec::Breaker};
use edge_proxy::upstream::endpoint::Endpoint;
use protocol::item::ServicePolicy;

use crate::support::{Behaviour, Instance, Region, Rude, client, until};

struct Three {
    region: Region,
    bad: Instance,
    _good: Instance,
}

impl Three {
    async fn start(rude: Rude, breaker: Breaker) -> Self {
        let region = Region::start().await;
        let bad = rude.start(region.agent.node_id).await;
        let good = Instance::start("two", region.agent.node_id).await;
        let all = [&region.instance, &bad, &good];
        for instance in all {
            region.agent.holds(region.service, instance);
        }
        let policy = ServicePolicy {
            breaker: Some(breaker),
            ..ServicePolicy::default()
        };
        let routes = region.routes.clone();
        let routes = routes.service_by(region.service, &all, policy);
        region
            .edge
            .publish_and_settle(&routes, region.service, &all)
            .await;
        Self {
            region,
            bad,
            _good: good,
        }
    }

    /// What the edge knows of the bad one.
    fn endpoint(&self) -> Arc<Endpoint> {
        let routes = self.region.edge.running.state.routes.load();
        let pool = routes.service(self.region.service).unwrap();
        let mut all = pool.endpoints().iter();
        Arc::clone(all.find(|e| e.spec == self.bad.spec).unwrap())
    }

    fn request(&self, client: &reqwest::Client, is_repeatable: bool) -> reqwest::RequestBuilder {
        match is_repeatable {
            true => client.get("https://app.test/"),
            false => client.post("https://app.test/echo").body("x"),
        }
    }

    /// How many requests of this kind fail until the bad one is ejected.
    async fn failures(&self, is_repeatable: bool) -> usize {
        let client = client(&self.region.ca, self.region.edge.https);
        let mut failed = 0;
        for _ in 0..500 {
            if self.endpoint().is_ejected() {
                return failed;
            }
            let answer = self.request(&client, is_repeatable).send().await.unwrap();
            failed += usize::from(answer.status() != 200);
        }
        panic!("it is never ejected");
    }
}

fn quick() -> Breaker {
    Breaker {
        ejection: Span::seconds(1),
        ..Breaker::default()
    }
}

#[tokio::test]
async fn three_requests_fail_at_most_and_it_is_back_once_it_has_recovered() {
    let three = Three::start(Rude::HangsUp, quick()).await;
    assert_eq!(three.failures(false).await, 3);
    three.bad.behave(Behaviour::Healthy);
    let (client, before) = (
        client(&three.region.ca, three.region.edge.https),
        three.bad.requests(),
    );
    until("it is back", async || {
        let answer = three.request(&client, false).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        !three.endpoint().is_ejected()
    })
    .await;
    assert_eq!(three.bad.requests(), before + 1, "one request has tried it");
}

#[tokio::test]
async fn what_can_be_repeated_never_fails_and_tries_the_bad_one_in_its_turn() {
    let three = Three::start(Rude::HangsUp, quick()).await;
    assert_eq!(three.failures(true).await, 0);
    let client = client(&three.region.ca, three.region.edge.https);
    let before = three.bad.requests();
    until("it was tried", async || {
        let answer = three.request(&client, true).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        three.bad.requests() > before
    })
    .await;
    assert!(three.endpoint().is_ejected(), "it is as bad as before");
}

#[tokio::test]
async fn errors_of_the_application_eject_where_the_service_wants_it() {
    let counting = Breaker {
        server_errors: true,
        ..Breaker::default()
    };
    let three = Three::start(Rude::Fails, counting).await;
    assert_eq!(three.failures(true).await, 3);

    let three = Three::start(Rude::Fails, Breaker::default()).await;
    let client = client(&three.region.ca, three.region.edge.https);
    until("it has answered many", async || {
        three.request(&client, true).send().await.unwrap();
        three.bad.requests() > 10
    })
    .await;
    assert!(!three.endpoint().is_ejected());
}
