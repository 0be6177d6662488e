//! A real Knot DNS that takes updates and gives its zone away, by key.

use std::{net::IpAddr, time::Duration};

use control_plane::dns::{
    self, Resolver, Zone, challenge,
    plan::plan,
    provider::Error,
    record::{Kind, RecordSet},
    zone,
};

use crate::name_server::{IDLE_KEY_NAME, KEY_NAME, NameServer};

use super::{edge, lines, owner};

const DOMAIN: &str = "apps.example.test";
const MARK: &str = "railhead-owner=00000000-0000-0000-0000-000000000007";

async fn serving(records: &str) -> NameServer {
    let mut server = NameServer::new();
    server.serve(records).await;
    server
}

async fn zone_of(server: &NameServer) -> Zone {
    super::zone(&server.provider_configuration(), DOMAIN).await
}

/// What users of the platform get.
async fn addresses(server: &NameServer, name: &str) -> Vec<IpAddr> {
    let resolver = Resolver::asking(&[server.address()]);
    let mut found = match resolver.addresses(name).await {
        Ok(found) => found,
        Err(dns::Error::NoSuchName) => Vec::new(),
        Err(error) => panic!("{error}"),
    };
    found.sort_unstable();
    found
}

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[tokio::test]
async fn names_lead_to_the_edges_that_are_live_and_keep_the_last() {
    let server = serving("").await;
    let zone = zone_of(&server).await;
    let both = [
        edge("eu-west", "192.0.2.1", true),
        edge("us-east", "192.0.2.2", true),
        edge("us-east", "2001:db8::2", true),
    ];
    let made = zone.repair(&both).await.unwrap();
    made.verdict().unwrap();
    // Two names, each with its mark and both families.
    assert_eq!(made.changes.len(), 6, "{:?}", lines(&made.changes));
    for name in [DOMAIN, "web-shop.apps.example.test"] {
        let found = addresses(&server, name).await;
        assert_eq!(found, ips(&["192.0.2.1", "192.0.2.2", "2001:db8::2"]));
    }
    let again = zone.repair(&both).await.unwrap();
    assert_eq!(lines(&again.changes), [""; 0]);

    let one = [
        edge("eu-west", "192.0.2.1", true),
        edge("us-east", "192.0.2.2", false),
    ];
    zone.repair(&one).await.unwrap();
    assert_eq!(addresses(&server, DOMAIN).await, ips(&["192.0.2.1"]));

    let none = [
        edge("eu-west", "192.0.2.1", false),
        edge("us-east", "192.0.2.2", false),
    ];
    for silent in [none.as_slice(), &[]] {
        let kept = zone.repair(silent).await.unwrap();
        assert_eq!(lines(&kept.changes), [""; 0]);
        assert_eq!(kept.kept.len(), 2, "{:?}", kept.kept);
        assert_eq!(addresses(&server, DOMAIN).await, ips(&["192.0.2.1"]));
    }
}

#[tokio::test]
async fn what_was_changed_by_hand_is_mended() {
    let server = serving("").await;
    let zone = zone_of(&server).await;
    let edges = [edge("eu-west", "192.0.2.1", true)];
    zone.repair(&edges).await.unwrap();
    server.edit(&[
        "zone-unset *.apps A",
        "zone-set *.apps 60 A 198.51.100.66",
        "zone-unset apps A",
    ]);
    let mended = zone.repair(&edges).await.unwrap();
    assert_eq!(
        lines(&mended.changes),
        [
            "replace A *.apps.example.test: 192.0.2.1",
            "create A apps.example.test: 192.0.2.1",
        ]
    );
    for name in [DOMAIN, "any.apps.example.test"] {
        assert_eq!(addresses(&server, name).await, ips(&["192.0.2.1"]));
    }
}

#[tokio::test]
async fn a_name_of_somebody_else_is_named_and_left_alone_until_it_is_given() {
    let server = serving("*.apps 60 A 198.51.100.1\nwww.apps 60 A 198.51.100.2").await;
    let zone = zone_of(&server).await;
    let edges = [edge("eu-west", "192.0.2.1", true)];
    for _ in 0..2 {
        let refused = zone.repair(&edges).await.unwrap();
        let said = refused.verdict().unwrap_err().to_string();
        assert!(
            said.starts_with("*.apps.example.test has A records"),
            "{said}"
        );
        assert!(said.contains(MARK), "{said}");
        let foreign = addresses(&server, "any.apps.example.test").await;
        assert_eq!(foreign, ips(&["198.51.100.1"]));
    }
    assert_eq!(addresses(&server, DOMAIN).await, ips(&["192.0.2.1"]));

    server.edit(&[&format!(
        "zone-set _railhead-owner._wildcard.apps 60 TXT {MARK}"
    )]);
    zone.repair(&edges).await.unwrap().verdict().unwrap();
    let ours = addresses(&server, "any.apps.example.test").await;
    assert_eq!(ours, ips(&["192.0.2.1"]));
    let beside = addresses(&server, "www.apps.example.test").await;
    assert_eq!(beside, ips(&["198.51.100.2"]));
}

#[tokio::test]
async fn a_name_that_was_taken_away_since_it_was_read_is_not_changed() {
    let server = serving("").await;
    let zone = zone_of(&server).await;
    let edges = [edge("eu-west", "192.0.2.1", true)];
    zone.repair(&edges).await.unwrap();
    let present = zone.provider().list().await.unwrap();
    let wanted: Vec<RecordSet> = present
        .iter()
        .filter(|set| set.kind == Kind::A)
        .cloned()
        .collect();
    let goals = wanted.into_iter().map(|mut set| {
        set.values = ["192.0.2.2".to_owned()].into();
        dns::goal::Goal::Set(set)
    });
    let plan = plan(&goals.collect::<Vec<_>>(), &present, &owner());
    assert_eq!(plan.changes.len(), 2);

    server.edit(&["zone-unset _railhead-owner.apps TXT"]);
    let refused = zone.provider().change(&plan.changes).await.unwrap_err();
    assert!(matches!(refused, Error::Changed { .. }), "{refused}");
    for name in [DOMAIN, "any.apps.example.test"] {
        assert_eq!(addresses(&server, name).await, ips(&["192.0.2.1"]));
    }
}

#[tokio::test]
async fn a_zone_of_many_messages_is_read_whole() {
    use std::fmt::Write as _;

    let mut records = String::new();
    for n in 0..6_000 {
        writeln!(records, "h{n}.apps A 192.0.2.1").unwrap();
    }
    let server = serving(&format!("{records}beside A 192.0.2.9")).await;
    let zone = zone_of(&server).await;
    let read = zone.provider().list().await.unwrap();
    assert_eq!(read.len(), 6_000);
}

async fn refusal(server: &NameServer, from: &str, to: &str) -> String {
    let text = server.provider_configuration();
    assert!(text.contains(from), "{text}");
    let zone = super::zone(&text.replace(from, to), DOMAIN).await;
    let edges = [edge("eu-west", "192.0.2.1", true)];
    match zone.repair(&edges).await.unwrap_err() {
        zone::Error::Provider(error @ Error::Refused { .. }) => error.to_string(),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn who_has_no_right_is_told_what_is_wrong_with_the_key() {
    let server = serving("").await;
    let named = |name: &str| format!("key_name = \"{name}\"");
    let from = named(KEY_NAME);
    let unknown = refusal(&server, &from, &named("nobody")).await;
    assert!(unknown.contains("BADKEY"), "{unknown}");
    let idle = refusal(&server, &from, &named(IDLE_KEY_NAME)).await;
    assert!(idle.contains("right"), "{idle}");

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("another.key");
    std::fs::write(&file, "A".repeat(44).replace("AAA", "AAB")).unwrap();
    let key_file = server.key_file();
    let (ours, other) = (key_file.to_str().unwrap(), file.to_str().unwrap());
    let wrong = refusal(&server, ours, other).await;
    assert!(wrong.contains("BADSIG"), "{wrong}");
}

#[tokio::test]
async fn a_file_that_holds_no_key_is_refused_at_the_start() {
    let server = NameServer::new();
    let provider = super::provider(&server.provider_configuration());
    for bad in ["", "key \"railhead\" { secret \"x\"; };", "c2hvcnQ="] {
        std::fs::write(server.key_file(), bad).unwrap();
        let refused = Zone::connect(&provider, DOMAIN, owner())
            .await
            .err()
            .unwrap();
        assert!(refused.to_string().contains("tsig.key"), "{refused:#}");
    }
}

#[tokio::test]
async fn a_server_that_is_away_is_given_a_pause() {
    let mut server = serving("").await;
    let zone = zone_of(&server).await;
    let edges = [edge("eu-west", "192.0.2.1", true)];
    zone.reconcile(&edges).await.unwrap().verdict().unwrap();
    let rest = zone.reconcile(&edges).await.unwrap();
    assert!(!rest.was_looked_at);

    server.stop();
    let more = [edge("eu-west", "192.0.2.2", true)];
    let away = zone.reconcile(&more).await.unwrap_err();
    assert!(
        matches!(away, zone::Error::Provider(Error::Unavailable { .. })),
        "{away}"
    );
    let pause = zone.reconcile(&more).await.unwrap_err();
    assert!(pause.is_waiting(), "{pause}");
    assert!(pause.to_string().contains(&away.to_string()), "{pause}");
}

#[tokio::test]
async fn a_challenge_is_served_beside_another_and_goes_alone() {
    let name = "_acme-challenge.apps.example.test";
    let server = serving("_acme-challenge.apps 60 TXT theirs").await;
    let zone = zone_of(&server).await;
    let resolver = Resolver::asking(&[server.address()]);
    let soon = Duration::from_secs(30);
    zone.put_text(name, "ours").await.unwrap();
    zone.put_text(name, "ours").await.unwrap();
    for value in ["ours", "theirs"] {
        let served = zone.text_is_served(&resolver, name, value, soon).await;
        served.unwrap();
    }
    zone.remove_text(name, "ours").await.unwrap();
    zone.remove_text(name, "ours").await.unwrap();
    assert_eq!(resolver.texts(name).await.unwrap(), ["theirs"]);

    let patience = Duration::from_millis(10);
    let missing = zone.text_is_served(&resolver, name, "ours", patience).await;
    let missing = missing.unwrap_err();
    assert!(
        matches!(missing, challenge::Error::NotServed { .. }),
        "{missing}"
    );
}

#[tokio::test]
async fn the_zones_own_name_servers_are_found() {
    let server = serving("").await;
    let resolver = Resolver::asking(&[server.address()]);
    let found = resolver.name_servers("example.test").await.unwrap();
    assert_eq!(found, ips(&["127.0.0.1"]));
    let none = resolver.name_servers("nothing.example.test").await;
    assert_eq!(none, Err(dns::Error::NoSuchName));
}
