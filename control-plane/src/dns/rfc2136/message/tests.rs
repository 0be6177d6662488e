use uuid::Uuid;

use super::*;

const NAME: &str = "*.apps.example.com";

fn owner() -> Owner {
    Owner::new(Uuid::nil())
}

fn zone() -> Name {
    parsed("example.com").unwrap()
}

fn set(kind: Kind, values: &[&str]) -> RecordSet {
    RecordSet {
        name: NAME.to_owned(),
        kind,
        routing: Routing::Simple,
        ttl: 60,
        values: values.iter().map(ToString::to_string).collect(),
    }
}

/// One line for each condition and each step, as they go over the wire and come back.
fn shown(message: &Message) -> String {
    let sent = Message::from_vec(&message.to_vec().unwrap()).unwrap();
    let line = |what: &str, record: &Record| {
        let Record {
            name,
            dns_class,
            ttl,
            data,
            ..
        } = record;
        let value = value(data).unwrap_or_default();
        let kind = record.record_type();
        format!("{what} {name} {ttl} {dns_class} {kind} {value}")
    };
    let conditions = sent.prerequisites().iter().map(|r| line("if", r));
    let steps = sent.updates().iter().map(|r| line("do", r));
    let lines: Vec<String> = conditions.chain(steps).collect();
    lines.join("\n").replace(" \n", "\n").trim_end().to_owned()
}

#[test]
fn what_is_new_is_made_only_where_nothing_is() {
    let changes = [
        Change::Create(owner().mark(NAME)),
        Change::Create(set(Kind::A, &["192.0.2.1", "192.0.2.2"])),
    ];
    insta::assert_snapshot!(shown(&update(&zone(), &changes, &owner()).unwrap()), @r"
    if _railhead-owner._wildcard.apps.example.com. 0 NONE TXT
    if *.apps.example.com. 0 NONE A
    do _railhead-owner._wildcard.apps.example.com. 300 IN TXT railhead-owner=00000000-0000-0000-0000-000000000000
    do *.apps.example.com. 60 IN A 192.0.2.1
    do *.apps.example.com. 60 IN A 192.0.2.2
    ");
}

#[test]
fn what_is_ours_is_changed_only_while_it_is_marked_so() {
    let changes = [
        Change::Replace {
            old: set(Kind::A, &["192.0.2.1"]),
            new: set(Kind::A, &["192.0.2.2"]),
        },
        Change::Delete(set(Kind::Aaaa, &["2001:db8::1"])),
    ];
    insta::assert_snapshot!(shown(&update(&zone(), &changes, &owner()).unwrap()), @r"
    if _railhead-owner._wildcard.apps.example.com. 0 IN TXT railhead-owner=00000000-0000-0000-0000-000000000000
    do *.apps.example.com. 0 ANY A
    do *.apps.example.com. 60 IN A 192.0.2.2
    do *.apps.example.com. 0 ANY AAAA
    ");
    let last = [Change::Delete(owner().mark(NAME))];
    insta::assert_snapshot!(shown(&update(&zone(), &last, &owner()).unwrap()), @r"
    if _railhead-owner._wildcard.apps.example.com. 0 IN TXT railhead-owner=00000000-0000-0000-0000-000000000000
    do _railhead-owner._wildcard.apps.example.com. 0 ANY TXT
    ");
}

#[test]
fn one_text_comes_and_goes_beside_others() {
    let name = "_acme-challenge.apps.example.com";
    let put = put_text(&zone(), name, "token").unwrap();
    insta::assert_snapshot!(shown(&put), @"do _acme-challenge.apps.example.com. 60 IN TXT token");
    let remove = remove_text(&zone(), name, "token").unwrap();
    insta::assert_snapshot!(shown(&remove), @"do _acme-challenge.apps.example.com. 0 NONE TXT token");
    assert!(put_text(&zone(), name, &"x".repeat(256)).is_err());
}

#[test]
fn what_is_no_address_is_not_sent() {
    for (kind, value) in [
        (Kind::A, "2001:db8::1"),
        (Kind::Aaaa, "192.0.2.1"),
        (Kind::A, "example.com"),
    ] {
        let changes = [Change::Create(set(kind, &[value]))];
        let refused = update(&zone(), &changes, &owner()).unwrap_err();
        assert!(refused.contains(value), "{refused}");
    }
}

#[test]
fn records_become_sets_whatever_their_order_and_case() {
    let record = |name: &str, value: &str| {
        let data = data(Kind::A, value).unwrap();
        Record::from_rdata(parsed(name).unwrap(), 60, data)
    };
    let found = record_sets(&[
        record("*.Apps.example.com", "192.0.2.2"),
        record("apps.example.com", "192.0.2.3"),
        record("*.apps.example.com", "192.0.2.1"),
    ]);
    let mut other = set(Kind::A, &["192.0.2.3"]);
    other.name = "apps.example.com".to_owned();
    assert_eq!(found, [set(Kind::A, &["192.0.2.1", "192.0.2.2"]), other]);
}
