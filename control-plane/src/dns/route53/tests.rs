use domain::name::Name;

use crate::dns::record::{Kind, Routing};

use super::*;

fn set(name: &str, addresses: usize) -> RecordSet {
    RecordSet {
        name: name.to_owned(),
        kind: Kind::A,
        routing: Routing::Simple,
        ttl: 60,
        values: (0..addresses).map(|n| n.to_string()).collect(),
    }
}

#[test]
fn a_batch_holds_what_route_53_takes_and_parts_no_name() {
    let owner = Owner::new(uuid::Uuid::nil());
    let changes = [
        Change::Create(owner.mark("a")),
        Change::Create(set("b", 600)),
        Change::Create(set("a", 398)),
        Change::Replace {
            old: set("c", 1),
            new: set("c", 200),
        },
    ];
    let names = |batch: &Vec<&Change>| -> Vec<String> {
        batch
            .iter()
            .map(|change| change.name().to_owned())
            .collect()
    };
    let batches = batches(&changes).unwrap();
    let batches: Vec<_> = batches.iter().map(names).collect();
    let first = ["_railhead-owner.a", "a", "b"].map(str::to_owned);
    assert_eq!(batches, [first.to_vec(), vec!["c".to_owned()]]);
}

#[test]
fn a_name_that_is_too_large_for_one_call_is_refused() {
    let change = [Change::Create(set("a", 1_001))];
    assert!(matches!(batches(&change), Err(Error::Limit(_))));
}

#[test]
fn regions_are_told_apart_by_what_the_policy_asks_for() {
    let text = r#"
        hosted_zone_id = "Z1"
        [regions.eu-west]
        continents = ["EU"]
        countries = ["MA"]
        aws_region = "eu-west-1"
    "#;
    let mut config: Config = toml::from_str(text).unwrap();
    let places = |config: &Config| match shape(config, "apps.example.com") {
        Shape::ByPlace {
            places,
            has_default,
            ..
        } => (places, has_default),
        Shape::Plain => panic!("all users are the same"),
    };
    let eu: Name = "eu-west".parse().unwrap();
    let (by_place, has_default) = places(&config);
    assert!(has_default);
    let expected = [
        Place::Continent("EU".to_owned()),
        Place::Country("MA".to_owned()),
    ];
    assert_eq!(by_place[&eu], expected);
    config.policy = Policy::Latency;
    let (by_latency, has_default) = places(&config);
    assert!(!has_default);
    assert_eq!(by_latency[&eu], [Place::AwsRegion("eu-west-1".to_owned())]);
}
