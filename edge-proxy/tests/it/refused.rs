//! Requests of every kind meet instances that refuse the connection: nothing of them was sent, so they go elsewhere,
//! whole, and once.

use crate::support::{Instance, Region, client, http1_only};

const SIZE: usize = 1 << 20;

/// One living instance, and some that die while the edge takes them for living ones.
struct Refusing {
    region: Region,
    living: Instance,
}

impl Refusing {
    async fn start() -> Self {
        let region = Region::start().await;
        let living = Instance::start("living", region.agent.node_id).await;
        region.agent.holds(region.service, &living);
        Self { region, living }
    }

    /// So many instances take connections, are preferred, and then they refuse.
    async fn dies(&self, count: usize) {
        let mut dying = Vec::new();
        for _ in 0..count {
            let instance = Instance::start("dead", self.region.agent.node_id).await;
            self.region.agent.holds(self.region.service, &instance);
            dying.push(instance);
        }
        let all: Vec<&Instance> = dying.iter().chain([&self.living]).collect();
        let (edge, service) = (&self.region.edge, self.region.service);
        let routes = self.region.routes.clone().service(service, &all);
        edge.publish_and_settle(&routes, service, &all).await;
        for instance in dying {
            prefer(&self.region, &instance);
            instance.kill().await;
        }
    }

    /// How many attempts the newest of so many requests has taken.
    async fn tries(&self, requests: usize) -> u64 {
        let log = self.region.edge.log(requests).await;
        log[requests - 1]["tries"].as_u64().unwrap()
    }
}

/// It gets the next request: all others are busy.
pub fn prefer(region: &Region, preferred: &Instance) {
    let routes = region.edge.running.state.routes.load();
    let endpoints = routes.service(region.service).unwrap().endpoints();
    let others = endpoints.iter().filter(|e| e.spec != preferred.spec);
    others.for_each(|endpoint| endpoint.begin());
}

#[tokio::test]
async fn a_request_with_a_body_goes_whole_and_once_to_another() {
    let refusing = Refusing::start().await;
    let region = &refusing.region;
    let pieces = || {
        let pieces = (0..16).map(|_| Ok::<_, std::io::Error>(vec![1_u8; SIZE / 16]));
        reqwest::Body::wrap_stream(tokio_stream::iter(pieces))
    };
    let mut sent = 0;
    for client in [
        client(&region.ca, region.edge.https),
        http1_only(&region.ca, region.edge.https),
    ] {
        let kinds: [&dyn Fn() -> reqwest::Body; 2] = [&|| vec![1_u8; SIZE].into(), &pieces];
        for body in kinds {
            let refused_before = sent;
            // A probe may have found out first.
            while refused_before == sent || refusing.tries(sent).await < 2 {
                assert!(sent < refused_before + 20, "no request was ever refused");
                refusing.dies(1).await;
                let request = client.post("https://app.test/echo").body(body());
                let answer = request.send().await.unwrap();
                assert_eq!(answer.status(), 200);
                assert_eq!(answer.text().await.unwrap(), SIZE.to_string());
                sent += 1;
                assert_eq!(refusing.living.requests(), sent, "once each");
            }
        }
    }
}

#[tokio::test]
async fn a_node_that_is_gone_with_many_instances_costs_no_request() {
    let refusing = Refusing::start().await;
    let client = client(&refusing.region.ca, refusing.region.edge.https);
    for sent in 1..20 {
        refusing.dies(20).await;
        let request = client.post("https://app.test/echo").body("x");
        assert_eq!(request.send().await.unwrap().status(), 200);
        if refusing.tries(sent).await > 12 {
            return;
        }
    }
    panic!("no request met many of them");
}
