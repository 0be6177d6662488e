//! Two deployments of a service side by side: who gets which one, and what happens when the new one is no good.

use domain::id::DeploymentId;
use protocol::item::{Match, Split};

use crate::support::{Instance, Region, client, until};

struct Canary {
    region: Region,
    new: Instance,
    deployment: DeploymentId,
}

impl Canary {
    /// With so many percent, and marks.
    async fn start(weight: u8, matches: Vec<Match>) -> Self {
        let region = Region::start().await;
        let new = Instance::start("new", region.agent.node_id).await;
        region.agent.holds(region.service, &new);
        let deployment = DeploymentId::new();
        let split = Split {
            deployment_id: deployment,
            endpoints: vec![new.spec],
            weight,
            matches,
            health_path: Some("/health".to_owned()),
        };
        let routes = region.routes.clone();
        let routes = routes.service(region.service, &[&region.instance]);
        region.edge.publish(&routes.beside(split));
        let canary = Self {
            region,
            new,
            deployment,
        };
        until("both can be used", async || canary.usable() == 2).await;
        canary
    }

    fn usable(&self) -> usize {
        let routes = self.region.edge.running.state.routes.load();
        let pool = routes.service(self.region.service).unwrap();
        pool.routed().filter(|e| e.is_usable()).count()
    }

    async fn ask(&self, header: Option<(&str, &str)>) -> String {
        let mut request = client(&self.region.ca, self.region.edge.https).get("https://app.test/");
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        request.send().await.unwrap().text().await.unwrap()
    }
}

#[tokio::test]
async fn marks_lead_to_the_new_deployment_and_are_counted_there() {
    let header = Match::Header {
        name: "x-canary".into(),
        value: "1".into(),
    };
    let cookie = Match::Cookie {
        name: "canary".into(),
        value: "1".into(),
    };
    let canary = Canary::start(0, vec![header, cookie]).await;
    for _ in 0..10 {
        assert_eq!(canary.ask(None).await, "one");
        assert_eq!(canary.ask(Some(("x-canary", "2"))).await, "one");
        assert_eq!(canary.ask(Some(("x-canary", "1"))).await, "new");
        assert_eq!(canary.ask(Some(("cookie", "a=1; canary=1"))).await, "new");
    }
    canary.region.edge.log(40).await;
    let counts = canary.region.edge.running.state.counters.snapshot();
    assert_eq!(counts[&canary.deployment].requests, 20);
}

#[tokio::test]
async fn weights_share_the_rest() {
    let canary = Canary::start(50, vec![]).await;
    let mut new = 0;
    for _ in 0..200 {
        new += usize::from(canary.ask(None).await == "new");
    }
    assert!((50..150).contains(&new), "{new} of 200");
}

#[tokio::test]
async fn a_new_deployment_that_dies_costs_no_request() {
    let canary = Canary::start(100, vec![]).await;
    assert_eq!(canary.ask(None).await, "new");
    let Canary { region, new, .. } = canary;
    new.kill().await;
    let client = client(&region.ca, region.edge.https);
    for _ in 0..20 {
        let answer = client.post("https://app.test/echo").body("x").send();
        assert_eq!(answer.await.unwrap().status(), 200);
    }
}
