use domain::{
    id::NodeId,
    quantity::{Bytes, Span},
};
use protocol::item::Endpoint;

use super::*;
use crate::store::placement::example;

/// A service that has run in eu-west.
struct World {
    service: Service,
    release: Release,
    existing: Vec<(FeedName, String)>,
    certificates: Vec<Certificate>,
}

impl World {
    fn new() -> Self {
        let (service, release) = example::routed();
        let item = service_item_id(service.id);
        Self {
            certificates: vec![],
            service,
            release,
            existing: vec![
                (
                    FeedName::GlobalRoutes(Ring::All),
                    "hostname/web.test".into(),
                ),
                (of_region("eu-west"), item),
            ],
        }
    }

    /// What edges get, and the instances that they may use by it.
    fn shown(&self, instances: &[Routed], release: Option<&Release>) -> String {
        let view = View {
            service: &self.service,
            release,
            hostnames: &["web.test".to_owned()],
            certificates: &self.certificates,
            instances,
            existing: &self.existing,
        };
        let rings = Rings {
            rendering: RENDERING,
            versions: Ring::ORDER.map(|ring| (ring, RENDERING.version)).into(),
        };
        let mut changes = changes(&view, &rings).unwrap();
        changes.retain(|feed, _| feed.ring() == Some(Ring::All));
        let lines = changes.iter().flat_map(|(feed, changes)| {
            let changes = changes.iter().map(said);
            changes.map(move |change| format!("{feed}: {change}\n"))
        });
        let lines: String = lines.collect();
        let routed = view.routed();
        let used = instances.iter().filter(|i| routed.contains(&i.instance));
        let used: Vec<_> = used.map(|i| i.region.as_str()).collect();
        format!("{lines}in use: [{}]", used.join(", "))
    }
}

fn said(change: &Change) -> String {
    match change {
        Change::Put { item, .. } => {
            let item: serde_json::Value = serde_json::from_str(item.json()).unwrap();
            let count = |field: &str| item.get(field)?.as_array().map(Vec::len);
            match (count("endpoints"), count("rules")) {
                (Some(endpoints), _) => format!("put {endpoints} endpoints"),
                (_, Some(rules)) => format!("put {rules} rules"),
                _ => format!("put regions {}", item["regions"]),
            }
        }
        Change::Delete { .. } => "delete".to_owned(),
        Change::LetGo { .. } => "let go".to_owned(),
    }
}

fn of_region(region: &str) -> FeedName {
    FeedName::RegionRoutes(region.parse().unwrap(), Ring::All)
}

fn instance(region: &str, stays: bool) -> Routed {
    let instance = InstanceId::new();
    Routed {
        region: region.parse().unwrap(),
        endpoint: Some(Endpoint {
            instance_id: instance,
            node_id: NodeId::new(),
            address: ([127, 0, 0, 1], 9).into(),
        }),
        instance,
        stays,
    }
}

#[test]
fn a_region_that_the_service_leaves_stays_until_it_is_released() {
    let world = World::new();
    let (old, new) = (instance("eu-west", false), instance("us-east", true));
    let moving = world.shown(&[old, new.clone()], Some(&world.release));
    insta::assert_snapshot!(moving, @r#"
    routes/global: put regions ["eu-west","us-east"]
    routes/region/us-east: put 1 endpoints
    in use: [eu-west, us-east]
    "#);
    let released = world.shown(&[new], Some(&world.release));
    insta::assert_snapshot!(released, @r#"
    routes/global: put regions ["us-east"]
    routes/region/eu-west: delete
    routes/region/us-east: put 1 endpoints
    in use: [us-east]
    "#);
}

#[test]
fn within_a_region_the_new_takes_the_place_of_the_old_at_once() {
    let world = World::new();
    let (old, new) = (instance("eu-west", false), instance("eu-west", true));
    insta::assert_snapshot!(world.shown(&[old, new], Some(&world.release)), @r#"
    routes/global: put regions ["eu-west"]
    routes/region/eu-west: put 1 endpoints
    in use: [eu-west]
    "#);
}

/// Both items of a service with one instance.
fn rendered(world: &World) -> (HostnameItem, ServiceItem) {
    let view = View {
        service: &world.service,
        release: Some(&world.release),
        hostnames: &["web.test".to_owned()],
        certificates: &[],
        instances: &[instance("eu-west", true)],
        existing: &[],
    };
    let (mut hostname, mut service) = (None, None);
    for (_, _, item) in items(&view) {
        match item {
            RouteItem::Global(GlobalRouteItem::Hostname(item)) => hostname = Some(item),
            RouteItem::Region(RegionRouteItem::Service(item)) => service = Some(item),
            _ => {}
        }
    }
    (hostname.unwrap(), service.unwrap())
}

#[test]
fn what_a_tenant_has_set_is_in_the_items_and_what_is_as_by_default_is_not() {
    let mut world = World::new();
    let (hostname, service) = rendered(&world);
    assert!(hostname.policy.is_default() && service.policy.is_default());

    let network = &mut world.release.spec.network;
    network.timeouts.total = Span::seconds(90);
    network.limits.body = Some(Bytes(7));
    network.limits.connections = Some(5);
    let (hostname, service) = rendered(&world);
    assert_eq!(hostname.policy.total, Some(Span::seconds(90)));
    let read_by_all = serde_json::to_value(hostname.timeouts).unwrap();
    assert!(read_by_all.get("total").is_none(), "{read_by_all}");
    assert_eq!(hostname.max_body, Some(Bytes(7)));
    let limits = service.policy.limits.unwrap();
    assert_eq!((limits.connections, limits.body), (Some(5), None));
}

#[test]
fn nothing_is_held_for_a_service_that_goes_nowhere() {
    let world = World::new();
    let old = [instance("eu-west", false)];
    insta::assert_snapshot!(world.shown(&old, Some(&world.release)), @r"
    routes/global: put regions []
    routes/region/eu-west: delete
    in use: []
    ");
    insta::assert_snapshot!(world.shown(&old, None), @r"
    routes/global: delete
    routes/region/eu-west: delete
    in use: []
    ");
}

#[test]
fn an_instance_that_was_never_routed_brings_no_region() {
    let world = World::new();
    let (staying, next) = (instance("eu-west", true), instance("us-east", false));
    insta::assert_snapshot!(world.shown(&[staying, next], Some(&world.release)), @r#"
    routes/global: put regions ["eu-west"]
    routes/region/eu-west: put 1 endpoints
    in use: [eu-west]
    "#);
}

#[test]
fn rules_are_one_item_for_all_hostnames_and_go_with_the_last_rule() {
    let mut world = World::new();
    let here = [instance("eu-west", true)];
    world.release.spec.edge = serde_json::from_value(serde_json::json!({ "rules": [
        { "if": "request.path == \"/old\"", "then": { "action": "block", "status": 410 } },
        { "if": "!request.tls", "then": { "action": "allow" } },
    ] }))
    .unwrap();
    insta::assert_snapshot!(world.shown(&here, Some(&world.release)), @r#"
    routes/global: put regions ["eu-west"]
    routes/global: put 2 rules
    routes/region/eu-west: put 1 endpoints
    in use: [eu-west]
    "#);
    let id = format!("service/{}/rules", world.service.id);
    world.existing.push((FeedName::GlobalRoutes(Ring::All), id));
    world.release.spec.edge.rules.clear();
    insta::assert_snapshot!(world.shown(&here, Some(&world.release)), @r#"
    routes/global: put regions ["eu-west"]
    routes/global: delete
    routes/region/eu-west: put 1 endpoints
    in use: [eu-west]
    "#);
}
