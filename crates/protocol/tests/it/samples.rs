use domain::ring::Ring;
use std::{fs, path::PathBuf};

use protocol::{
    OLDEST, PROTOCOL,
    agent_api::Confirmation,
    feed::{
        FeedName,
        reader::{Limits, Outcome, Reader},
        signature::FeedKeys,
    },
    item::{GlobalRouteItem, Item, NodeItem, RegionRouteItem},
    join::{
        Identity, JoinRequest, JoinTokenRequest, JoinTokenStatus, RegistryToken,
        RegistryTokenRequest, RenewRequest,
    },
    log::LogBatch,
    report::{Report, ReportAnswer},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

fn folder(version: u32) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("fixtures/v{version}"))
}

fn sample(name: &str) -> String {
    fs::read_to_string(folder(1).join(name)).unwrap()
}

/// Whether all that is in `old` is in `new`; `new` may have more.
fn holds(new: &Value, old: &Value) -> bool {
    match (new, old) {
        (Value::Object(new), Value::Object(old)) => old.iter().all(|(key, old)| {
            // Defaults may be left out when written.
            new.get(key).map_or(is_default(old), |new| holds(new, old))
        }),
        (Value::Array(new), Value::Array(old)) => {
            new.len() == old.len() && new.iter().zip(old).all(|(new, old)| holds(new, old))
        }
        (Value::Number(new), Value::Number(old)) => new.as_f64() == old.as_f64(),
        _ => new == old,
    }
}

fn is_default(value: &Value) -> bool {
    match value {
        Value::Object(object) => object.is_empty(),
        Value::Null => true,
        _ => false,
    }
}

type Check = fn(&str);

/// Each entry of a sample is read and written again without loss.
fn check<T: DeserializeOwned + Serialize>(name: &str) {
    let samples: Vec<Value> = serde_json::from_str(&sample(name)).unwrap();
    for old in samples {
        let read: T = serde_json::from_value(old.clone())
            .unwrap_or_else(|error| panic!("{name}: {error} in {old}"));
        let new = serde_json::to_value(read).unwrap();
        assert!(holds(&new, &old), "{name}: {old}\nreads as {new}");
    }
}

#[test]
fn every_sample_reads_as_it_was_meant() {
    let checks: [(&str, Check); 20] = [
        ("confirmation.json", check::<Confirmation>),
        ("global_route_item.json", check::<GlobalRouteItem>),
        ("global_route_item_challenge.json", check::<GlobalRouteItem>),
        (
            "global_route_item_with_policy.json",
            check::<GlobalRouteItem>,
        ),
        (
            "global_route_item_with_rules.json",
            check::<GlobalRouteItem>,
        ),
        ("identity.json", check::<Identity>),
        ("join_request.json", check::<JoinRequest>),
        ("join_token_request.json", check::<JoinTokenRequest>),
        ("join_token_status.json", check::<JoinTokenStatus>),
        ("log_batch.json", check::<LogBatch>),
        ("node_item.json", check::<NodeItem>),
        ("region_route_item.json", check::<RegionRouteItem>),
        (
            "region_route_item_with_splits.json",
            check::<RegionRouteItem>,
        ),
        ("registry_token.json", check::<RegistryToken>),
        ("registry_token_request.json", check::<RegistryTokenRequest>),
        ("renew_request.json", check::<RenewRequest>),
        ("report.json", check::<Report>),
        ("report_answer.json", check::<ReportAnswer>),
        ("report_answer_with_ring.json", check::<ReportAnswer>),
        ("report_with_traffic.json", check::<Report>),
    ];
    for (name, check) in checks {
        check(name);
    }
    let found = names(1);
    assert_eq!(found, checks.map(|(name, _)| name), "a sample is not read");
}

fn names(version: u32) -> Vec<String> {
    let files = fs::read_dir(folder(version)).unwrap();
    let mut found: Vec<String> = files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".json"))
        .collect();
    found.sort();
    found
}

#[test]
fn every_version_that_is_served_has_its_samples() {
    for version in OLDEST..=PROTOCOL {
        assert!(!names(version).is_empty(), "fixtures/v{version}");
    }
}

#[test]
fn a_feed_written_by_another_implementation_is_read() {
    let identity: Vec<Identity> = serde_json::from_str(&sample("identity.json")).unwrap();
    let keys = FeedKeys::from_base64(&identity[0].feed_keys).unwrap();
    let mut reader = Reader::new(FeedName::GlobalRoutes(Ring::All), keys, Limits::default());
    let mut commits = Vec::new();
    for line in sample("feed.ndjson").lines() {
        if let Outcome::Commit(set) = reader.read_line(line.as_bytes()).unwrap() {
            commits.push((
                set.full,
                set.puts.len(),
                set.deletes.len(),
                set.secrets.len(),
            ));
        }
    }
    assert_eq!(commits, [(true, 3, 0, 1), (false, 1, 1, 0)]);
    assert_eq!(reader.document().len(), 2);
    for (_, item) in reader.document().iter() {
        serde_json::from_str::<GlobalRouteItem>(item.json()).unwrap();
    }
}

#[test]
fn each_kind_of_item_names_its_secrets() {
    let items: Vec<NodeItem> = serde_json::from_str(&sample("node_item.json")).unwrap();
    let keys = |item: &NodeItem| -> Vec<String> {
        let secrets = item.secrets();
        secrets.iter().map(|secret| secret.key.clone()).collect()
    };
    assert_eq!(
        keys(&items[0]),
        ["variable/var_0192f3c800007000800000000000000b"]
    );
    assert_eq!(
        keys(&items[2]),
        [
            "variable/var_0192f3c800007000800000000000000b",
            "deploy_key/dky_1"
        ]
    );
    assert_eq!(keys(&items[3]).len(), 1);
    let routes: Vec<GlobalRouteItem> =
        serde_json::from_str(&sample("global_route_item.json")).unwrap();
    let secrets: Vec<_> = routes.iter().flat_map(Item::secrets).collect();
    assert_eq!(secrets.len(), 1);
    assert!(secrets[0].key.starts_with("certificate/"));
}
