//! What a node has when nobody means it harm: three services with two instances here and there.

use std::net::SocketAddr;

use domain::{
    id::{DeploymentId, EnvironmentId, NodeId, OrganizationId, ReleaseId, ServiceId},
    instance::Desired,
    quantity::Span,
    spec::{Confinement, DeploySpec, NetworkSpec, Resources, StopSignal},
};
use protocol::item::{
    AgentItem, EdgeItem, Endpoint, GlobalRouteItem, HostnameItem, InstanceItem, NodeItem,
    RegionRouteItem, RoutePolicy, RunMode,
};
use serde::Serialize;
use serde_json::Value;

use testkit::poison::{Items, endpoint, service_item};

/// A service and its instances.
pub struct Service {
    pub id: ServiceId,
    pub hostname: String,
    pub endpoints: Vec<Endpoint>,
}

/// The node and what it shall know.
pub struct Good {
    pub node: NodeId,
    pub services: Vec<Service>,
    pub instances: Vec<InstanceItem>,
}

impl Good {
    pub fn new() -> Self {
        let node = NodeId::new();
        let services: Vec<Service> = (0..3).map(|n| service(n, node)).collect();
        let instances = services.iter().flat_map(instances).collect();
        Self {
            node,
            services,
            instances,
        }
    }

    pub fn is_good(&self, endpoint: &Endpoint) -> bool {
        let mut all = self.services.iter().flat_map(|service| &service.endpoints);
        all.any(|good| good == endpoint)
    }

    /// `node/<id>`.
    pub fn node_items(&self) -> Items {
        self.instances
            .iter()
            .map(|item| {
                let id = format!("instance/{}", item.id);
                (id, json(&NodeItem::Instance(Box::new(item.clone()))))
            })
            .collect()
    }

    /// `routes/global`.
    pub fn global_items(&self) -> Items {
        let hostname = |service: &Service| {
            let item = GlobalRouteItem::Hostname(HostnameItem {
                hostname: service.hostname.clone(),
                service_id: service.id,
                regions: vec!["us-east".parse().unwrap()],
                https_redirect: false,
                timeouts: NetworkSpec::default().timeouts,
                max_body: None,
                path: None,
                policy: RoutePolicy::default(),
            });
            (format!("hostname/{}", service.hostname), json(&item))
        };
        let edge = GlobalRouteItem::Edge(EdgeItem {
            node_id: self.node,
            region: "eu-west".parse().unwrap(),
            forward_address: ([10, 0, 0, 9], 7_443).into(),
        });
        let edge = (format!("edge/{}", self.node), json(&edge));
        self.services.iter().map(hostname).chain([edge]).collect()
    }

    /// `routes/region/us-east`.
    pub fn region_items(&self) -> Items {
        let agent = RegionRouteItem::Agent(AgentItem {
            node_id: self.node,
            address: ([10, 0, 0, 1], 7_444).into(),
        });
        let agent = (format!("agent/{}", self.node), json(&agent));
        let service = |service: &Service| service_item(service.id, service.endpoints.clone());
        self.services.iter().map(service).chain([agent]).collect()
    }
}

fn service(n: u16, node: NodeId) -> Service {
    let address = |port: u16| SocketAddr::from(([10, 0, 0, 1], 20_000 + 10 * n + port));
    Service {
        id: ServiceId::new(),
        hostname: format!("app-{n}.railhead.test"),
        endpoints: vec![endpoint(node, address(1)), endpoint(node, address(2))],
    }
}

fn instances(service: &Service) -> Vec<InstanceItem> {
    let deploy = DeploySpec::default();
    let item = |endpoint: &Endpoint| InstanceItem {
        id: endpoint.instance_id,
        desired: Desired::Run,
        organization_id: OrganizationId::new(),
        environment_id: EnvironmentId::new(),
        service_id: service.id,
        service_name: "web".parse().unwrap(),
        release_id: ReleaseId::new(),
        deployment_id: DeploymentId::new(),
        image: format!("10.0.0.1:5000/a/b@sha256:{}", "ab".repeat(32)),
        command: Some(vec!["serve".to_owned()]),
        environment: [].into(),
        port: Some(8_080),
        resources: Resources::default(),
        confinement: Confinement::Restricted,
        run: RunMode::Service {
            startup: None,
            readiness: Some(deploy.readiness.clone()),
            liveness: None,
        },
        stop_signal: StopSignal::Sigterm,
        draining: Span::seconds(30),
        traceparent: None,
    };
    service.endpoints.iter().map(item).collect()
}

fn json(item: &impl Serialize) -> Value {
    serde_json::to_value(item).unwrap()
}
