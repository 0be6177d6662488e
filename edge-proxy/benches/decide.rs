//! What a request costs before it goes anywhere: the decision and the choice of an endpoint, over a
//! table of 100,000 host names; and what compiling that table costs, also at the start of an edge that finds again what
//! it could use. Prints JSON.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark is a program for a terminal"
)]

use std::{
    hint::black_box,
    num::NonZeroU32,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use domain::{
    id::{DeploymentId, InstanceId, NodeId, ServiceId},
    spec::Timeouts,
};
use edge_proxy::{
    decide::{ConnInfo, Decision, RequestHead, TlsInfo, decide},
    limit::Limits,
    listen::head,
    metrics::Metrics,
    route::RouteTable,
    rule::ServiceRules,
    state::State,
    upstream::{counters::Counters, memory::Memory},
};
use link::writing::Writing;
use prometheus::Registry;
use protocol::item::{
    Endpoint, GlobalRouteItem, HostnameItem, RegionRouteItem, RoutePolicy, RulesItem, ServiceItem,
    ServicePolicy,
};
use rules::Request;

const HOSTNAMES: usize = 100_000;
const ROUNDS: usize = 7;
const BATCH: u32 = 20_000;

struct Measured {
    name: &'static str,
    value: f64,
    unit: &'static str,
}

/// The best of several rounds: what disturbs a round only makes it longer.
fn best(batch: u32, mut once: impl FnMut(u32)) -> Duration {
    let round = |once: &mut dyn FnMut(u32)| {
        let begun = Instant::now();
        (0..batch).for_each(&mut *once);
        begun.elapsed() / batch
    };
    let rounds = (0..ROUNDS).map(|_| round(&mut once));
    rounds.min().unwrap_or_default()
}

fn items() -> (Vec<GlobalRouteItem>, Vec<RegionRouteItem>) {
    let services: Vec<_> = (0..HOSTNAMES).map(|_| ServiceId::new()).collect();
    let hostname = |(n, service_id): (usize, &ServiceId)| {
        GlobalRouteItem::Hostname(HostnameItem {
            hostname: format!("service-{n}.railhead.test"),
            service_id: *service_id,
            regions: vec!["us-east".parse().unwrap(), "eu-west".parse().unwrap()],
            https_redirect: true,
            timeouts: Timeouts::default(),
            max_body: None,
            path: None,
            policy: RoutePolicy::default(),
        })
    };
    let service = |service_id: &ServiceId| {
        RegionRouteItem::Service(ServiceItem {
            service_id: *service_id,
            deployment_id: DeploymentId::new(),
            endpoints: (0..3)
                .map(|port| Endpoint {
                    instance_id: InstanceId::new(),
                    node_id: NodeId::new(),
                    address: ([10, 0, 0, 1], 20_000 + port).into(),
                })
                .collect(),
            health_path: None,
            traceparent: None,
            policy: ServicePolicy::default(),
            splits: Vec::new(),
        })
    };
    let global = services.iter().enumerate().map(hostname).collect();
    (global, services.iter().map(service).collect())
}

fn connection() -> ConnInfo {
    ConnInfo {
        peer: [192, 0, 2, 1].into(),
        tls: Some(TlsInfo {
            server_name: "service-77.railhead.test".into(),
            names: Arc::from(["*.railhead.test".to_owned()]),
            version: "TLSv1.3",
        }),
        via: None,
    }
}

/// Has it written by an edge's own task.
fn keep(table: RouteTable, dir: &Path) {
    let metrics = Arc::new(Metrics::new(&Registry::new()).unwrap());
    let (state, _wanted) = State::new(NodeId::new(), "us-east".parse().unwrap(), metrics);
    state.routes.store(Arc::new(table));
    state.endpoints_changed();
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().unwrap().block_on(async {
        let keeping = tokio::spawn(Arc::new(Memory::new(dir)).run(state, Writing::default()));
        while Memory::new(dir).recall().services().next().is_none() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        keeping.abort();
    });
}

fn measure() -> Vec<Measured> {
    let (global, region) = items();
    let global: Vec<_> = global.iter().collect();
    let region: Vec<_> = region.iter().collect();
    let compile = best(1, |_| {
        black_box(RouteTable::build(
            &global,
            &region,
            &RouteTable::default(),
            &Counters::default(),
        ));
    });
    let table = RouteTable::build(
        &global,
        &region,
        &RouteTable::default(),
        &Counters::default(),
    );
    for (_, endpoint) in table.watched(|_| true) {
        endpoint.confirm(true);
        endpoint.probe_succeeded(endpoint.verdict());
    }
    let hosts: Vec<_> = (0..1000)
        .map(|n| format!("service-{}.railhead.test", n * 97))
        .collect();
    let connection = connection();
    let head = |n: u32| RequestHead {
        authority: hosts.get(n as usize % hosts.len()).map(String::as_str),
        path_and_query: "/path?query",
        content_length: None,
        hops: 0,
    };
    let deciding = best(BATCH, |n| {
        black_box(decide(&head(n), &connection, &table));
    });
    let choosing = best(BATCH, |n| {
        let Decision::Serve(route) = decide(&head(n), &connection, &table) else {
            return;
        };
        let pool = table.service(route.service_id);
        black_box(pool.and_then(|pool| pool.choose(&[], Instant::now())));
    });
    let request = b"GET /path?query HTTP/1.1\r\nHost: service-77.railhead.test\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\nAccept: text/html,application/xhtml+xml\r\nAccept-Language: en\r\nAccept-Encoding: gzip, br\r\nCookie: session=0123456789abcdef0123456789abcdef\r\nConnection: keep-alive\r\n\r\n";
    let checking = best(BATCH, |_| {
        black_box(head::check(black_box(request)).is_ok());
    });
    let dir = tempfile::tempdir().unwrap();
    keep(table, dir.path());
    let recalling = best(1, |_| {
        black_box(Memory::new(dir.path()).recall());
    });
    let recalled = Memory::new(dir.path()).recall();
    let following = best(1, |_| {
        let counters = Counters::default();
        black_box(RouteTable::build(&global, &region, &recalled, &counters));
    });
    vec![
        nanoseconds("decide_100k_hostnames", deciding),
        nanoseconds("decide_and_choose_endpoint", choosing),
        nanoseconds("check_http1_head", checking),
        milliseconds("compile_table_100k_hostnames", compile),
        milliseconds("recall_300k_confirmed_endpoints", recalling),
        milliseconds("compile_table_after_recall", following),
    ]
}

fn compiled(rules: serde_json::Value, limits: &Limits) -> ServiceRules {
    let item = RulesItem {
        service_id: ServiceId::new(),
        rules: serde_json::from_value(rules).unwrap(),
    };
    ServiceRules::compile(&item, None, limits.table()).unwrap()
}

/// Ten rules that are asked and do nothing, and a limit of which every request is counted, of 10,000 addresses.
fn measure_rules() -> Vec<Measured> {
    let limits = Limits::default();
    let conditions = [
        "request.path.startsWith('/login') && request.method == 'POST'",
        "request.path.matches('^/wp-(admin|login)')",
        "cidr('203.0.113.0/24').containsIP(request.ip)",
        "request.user_agent.lowerAscii().contains('bot')",
        "request.headers['x-api-key'] == 'nobody'",
        "request.host in ['a.test', 'b.test', 'c.test']",
        "request.country in ['XX', 'YY']",
        "['/.env', '/.git'].exists(p, request.path.startsWith(p))",
        "size(request.query) > 1024",
        "!request.tls",
    ];
    let block = |condition| serde_json::json!({ "if": condition, "then": { "action": "block" } });
    let ten = compiled(conditions.map(block).to_vec().into(), &limits);
    let limit = serde_json::json!([{
        "if": "true",
        "then": { "action": "rate_limit", "key": "ip", "limit": 100, "window": "1s" },
    }]);
    let limit = compiled(limit, &limits);
    let mut headers = http::HeaderMap::new();
    headers.insert(
        "user-agent",
        "Mozilla/5.0 (X11; Linux x86_64)".parse().unwrap(),
    );
    let ask = |rules: &ServiceRules, n: u32, edges: NonZeroU32| {
        let address = (0x0a00_0000 + n % 10_000).to_be_bytes().into();
        let mut request = Request::new("GET", "/path?query", "service.test", &headers, address);
        request.tls = true;
        black_box(rules.decide(&request, &limits, edges));
    };
    let one = NonZeroU32::MIN;
    vec![
        nanoseconds("ask_10_rules", best(BATCH, |n| ask(&ten, n, one))),
        nanoseconds("count_1_rate_limit", best(BATCH, |n| ask(&limit, n, one))),
    ]
}

fn milliseconds(name: &'static str, time: Duration) -> Measured {
    Measured {
        name,
        value: time.as_secs_f64() * 1e3,
        unit: "ms",
    }
}

fn nanoseconds(name: &'static str, time: Duration) -> Measured {
    Measured {
        name,
        value: time.as_secs_f64() * 1e9,
        unit: "ns",
    }
}

fn main() {
    let results: Vec<_> = measure()
        .iter()
        .chain(&measure_rules())
        .map(|m| serde_json::json!({ "name": m.name, "value": m.value, "unit": m.unit }))
        .collect();
    println!("{}", serde_json::Value::from(results));
}
