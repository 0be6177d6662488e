//! Route 53, as moto plays it: sets by place, health checks, texts, and what is not ours.

use std::collections::BTreeMap;

use aws_sdk_route53::types::{ResourceRecord, ResourceRecordSet, RrType};
use control_plane::dns::{Zone, provider::Error, zone};

use super::{edge, lines, moto::Moto};

const ZONE: &str = "example.test";
const DOMAIN: &str = "apps.example.test";

const REGIONS: &str = r#"
    [dns.provider.route53.regions.eu-west]
    continents = ["EU"]
    [dns.provider.route53.regions.us-east]
    countries = ["US"]
"#;

async fn zone_of(moto: &Moto) -> Zone {
    let text = moto.provider_configuration(ZONE);
    super::zone(&format!("{text}{REGIONS}"), DOMAIN).await
}

/// Addresses by name and identifier.
async fn addresses(moto: &Moto) -> BTreeMap<String, String> {
    let sets = moto.sets().await;
    let sets = sets.iter().filter(|set| set.r#type == RrType::A);
    sets.map(|set| {
        let name = set.name.trim_end_matches('.').replace("\\052", "*");
        let id = set.set_identifier.as_deref().unwrap_or("-");
        (format!("{name} {id}"), values(set).join(" "))
    })
    .collect()
}

fn values(set: &ResourceRecordSet) -> Vec<&str> {
    set.resource_records()
        .iter()
        .map(ResourceRecord::value)
        .collect()
}

fn expected(lines: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    lines.iter().map(owned).collect()
}

async fn hosts_checked(moto: &Moto) -> Vec<String> {
    let checks = moto.checks().await;
    let configs = checks
        .into_iter()
        .filter_map(|check| check.health_check_config);
    let mut hosts: Vec<String> = configs
        .filter_map(|config| config.fully_qualified_domain_name)
        .collect();
    hosts.sort_unstable();
    hosts
}

#[tokio::test]
async fn each_region_has_its_users_and_its_check_for_as_long_as_it_has_edges() {
    let moto = Moto::new(ZONE).await;
    let zone = zone_of(&moto).await;
    let eu = edge("eu-west", "192.0.2.1", true);
    let first = zone.repair(std::slice::from_ref(&eu)).await.unwrap();
    first.verdict().unwrap();
    let of_eu = [
        ("apps.example.test default", "192.0.2.1"),
        ("*.apps.example.test default", "192.0.2.1"),
        ("apps.example.test eu-west continent EU", "192.0.2.1"),
        ("*.apps.example.test eu-west continent EU", "192.0.2.1"),
        ("eu-west.edge.apps.example.test -", "192.0.2.1"),
    ];
    assert_eq!(addresses(&moto).await, expected(&of_eu));
    assert_eq!(
        hosts_checked(&moto).await,
        ["eu-west.edge.apps.example.test"]
    );
    is_checked(&moto, "eu-west continent EU").await;
    let again = zone.repair(std::slice::from_ref(&eu)).await.unwrap();
    assert_eq!(lines(&again.changes), [""; 0]);

    let both = [eu.clone(), edge("us-east", "192.0.2.2", true)];
    zone.repair(&both).await.unwrap();
    let with_us = [
        ("apps.example.test default", "192.0.2.1 192.0.2.2"),
        ("*.apps.example.test default", "192.0.2.1 192.0.2.2"),
        ("apps.example.test eu-west continent EU", "192.0.2.1"),
        ("*.apps.example.test eu-west continent EU", "192.0.2.1"),
        ("eu-west.edge.apps.example.test -", "192.0.2.1"),
        ("apps.example.test us-east country US", "192.0.2.2"),
        ("*.apps.example.test us-east country US", "192.0.2.2"),
        ("us-east.edge.apps.example.test -", "192.0.2.2"),
    ];
    assert_eq!(addresses(&moto).await, expected(&with_us));
    assert_eq!(hosts_checked(&moto).await.len(), 2);

    let silent = [eu.clone(), edge("us-east", "192.0.2.2", false)];
    let kept = zone.repair(&silent).await.unwrap();
    assert_eq!(kept.kept.len(), 3, "{:?}", kept.kept);
    let mut without = expected(&with_us);
    for name in ["apps.example.test default", "*.apps.example.test default"] {
        without.insert(name.to_owned(), "192.0.2.1".to_owned());
    }
    assert_eq!(addresses(&moto).await, without);

    zone.repair(&[eu]).await.unwrap();
    assert_eq!(addresses(&moto).await, expected(&of_eu));
    assert_eq!(
        hosts_checked(&moto).await,
        ["eu-west.edge.apps.example.test"]
    );
}

/// Each set of that identifier is answered only while the region's check succeeds.
async fn is_checked(moto: &Moto, id: &str) {
    let checks = moto.checks().await;
    let sets = moto.sets().await;
    let sets = sets
        .iter()
        .filter(|set| set.set_identifier.as_deref() == Some(id));
    let of_sets: Vec<Option<&str>> = sets.map(|set| set.health_check_id.as_deref()).collect();
    assert_eq!(of_sets, [Some(checks[0].id()); 2]);
}

#[tokio::test]
async fn what_was_changed_by_hand_is_mended_and_what_is_not_ours_is_named() {
    let moto = Moto::new(ZONE).await;
    moto.write(DOMAIN, RrType::A, None, "198.51.100.1").await;
    moto.write("apps-old.example.test", RrType::A, None, "198.51.100.2")
        .await;
    let zone = zone_of(&moto).await;
    let edges = [edge("eu-west", "192.0.2.1", true)];
    let refused = zone.repair(&edges).await.unwrap();
    let said = refused.verdict().unwrap_err().to_string();
    assert!(
        said.starts_with("apps.example.test has A records"),
        "{said}"
    );

    let sets = moto.sets().await;
    let is_default = |set: &&ResourceRecordSet| set.set_identifier.as_deref() == Some("default");
    let default = sets.iter().find(is_default).unwrap();
    moto.write(
        "*.apps.example.test",
        RrType::A,
        Some(default),
        "198.51.100.66",
    )
    .await;
    let mended = zone.repair(&edges).await.unwrap();
    assert_eq!(
        lines(&mended.changes),
        ["replace A *.apps.example.test (default): 192.0.2.1"]
    );
    let found = addresses(&moto).await;
    for (name, address) in [
        ("*.apps.example.test default", "192.0.2.1"),
        ("apps.example.test -", "198.51.100.1"),
        ("apps-old.example.test -", "198.51.100.2"),
    ] {
        assert_eq!(found[name], address, "{name}");
    }
}

async fn texts(moto: &Moto, name: &str) -> Vec<String> {
    let sets = moto.sets().await;
    let is_it = |set: &&ResourceRecordSet| {
        set.r#type == RrType::Txt && set.name.trim_end_matches('.') == name
    };
    let found = sets.iter().find(is_it).map(values);
    found
        .unwrap_or_default()
        .into_iter()
        .map(str::to_owned)
        .collect()
}

#[tokio::test]
async fn a_challenge_stands_beside_another_and_goes_alone() {
    let name = "_acme-challenge.apps.example.test";
    let moto = Moto::new(ZONE).await;
    moto.write(name, RrType::Txt, None, "\"theirs\"").await;
    let zone = zone_of(&moto).await;
    zone.put_text(name, "ours").await.unwrap();
    zone.put_text(name, "ours").await.unwrap();
    assert_eq!(texts(&moto, name).await, ["\"theirs\"", "\"ours\""]);
    zone.remove_text(name, "theirs").await.unwrap();
    assert_eq!(texts(&moto, name).await, ["\"ours\""]);
    zone.remove_text(name, "ours").await.unwrap();
    zone.remove_text(name, "ours").await.unwrap();
    assert_eq!(texts(&moto, name).await, [""; 0]);
}

#[tokio::test]
async fn a_hosted_zone_that_is_not_there_is_said_to_be_so() {
    let moto = Moto::new(ZONE).await;
    let text = moto.provider_configuration(ZONE);
    let text = text.replace(&moto.zone_id, "Z0NOTHING");
    let zone = super::zone(&text, DOMAIN).await;
    let refused = zone.repair(&[edge("eu-west", "192.0.2.1", true)]).await;
    match refused.unwrap_err() {
        zone::Error::Provider(error @ Error::Refused { .. }) => {
            assert!(error.to_string().contains("Z0NOTHING"), "{error}");
        }
        other => panic!("{other}"),
    }
}
