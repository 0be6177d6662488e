//! A small platform: a CA, edges in this process, instances and an agent.

mod agent;
mod ca;
mod client;
mod control_plane;
mod edge;
mod instance;
mod process;
mod supervisor;

pub use agent::Agent;
pub use ca::Ca;
pub use client::{
    as_user, client, connect, http1_only, raw, raw_tls, through_balancer, tls_config,
};
pub use control_plane::ControlPlane;
pub use edge::{BALANCER, CONNECTIONS_PER_ADDRESS, Extras, Routes, TestEdge};
pub use instance::{Behaviour, Instance, MortalSocket, Rude};
pub use process::{DRAIN, Process};

use std::time::{Duration, Instant};

/// Waits for a state.
pub async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(15);
    while !condition().await {
        assert!(Instant::now() < end, "{what}: not within 15 s");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

use domain::id::ServiceId;

/// One region: an agent, an instance behind `app.test`, an edge.
pub struct Region {
    pub ca: Ca,
    pub agent: Agent,
    pub service: ServiceId,
    pub instance: Instance,
    pub routes: Routes,
    pub edge: TestEdge,
}

impl Region {
    pub async fn start() -> Self {
        let ca = Ca::new();
        let agent = Agent::start(&ca, "us-east").await;
        let service = ServiceId::new();
        let instance = Instance::start("one", agent.node_id).await;
        agent.holds(service, &instance);
        let routes = Routes::default()
            .certificate(&ca, &["app.test"])
            .certificate(&ca, &["*.wild.test"])
            .hostname("app.test", service, &["us-east"])
            .hostname("*.wild.test", service, &["us-east"])
            .agent(&agent);
        let edge = TestEdge::start(
            &ca,
            "us-east",
            &routes.clone().service(service, &[&instance]),
        )
        .await;
        edge.usable(service, &[&instance]).await;
        Self {
            ca,
            agent,
            service,
            instance,
            routes,
            edge,
        }
    }
}
