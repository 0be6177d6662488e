use proptest::{
    collection::{btree_set, vec},
    prelude::*,
    sample::select,
};
use uuid::Uuid;

use super::*;

fn owner() -> Owner {
    Owner::new(Uuid::nil())
}

fn set(name: &str, kind: Kind, value: &str) -> RecordSet {
    RecordSet {
        name: name.to_owned(),
        kind,
        routing: Routing::Simple,
        ttl: 60,
        values: [value.to_owned()].into(),
    }
}

fn lines(plan: &Plan) -> Vec<String> {
    plan.changes.iter().map(ToString::to_string).collect()
}

#[test]
fn a_new_name_is_marked_and_made() {
    let goals = [Goal::Set(set("a.test", Kind::A, "192.0.2.1"))];
    let plan = plan(&goals, &[], &owner());
    assert_eq!(
        lines(&plan),
        [
            "create TXT _railhead-owner.a.test: railhead-owner=00000000-0000-0000-0000-000000000000",
            "create A a.test: 192.0.2.1",
        ]
    );
}

#[test]
fn a_name_that_is_no_longer_wanted_goes_with_its_mark_and_nothing_else() {
    let present = [
        owner().mark("a.test"),
        set("a.test", Kind::A, "192.0.2.1"),
        set("a.test", Kind::Txt, "v=spf1 -all"),
        set("b.test", Kind::A, "192.0.2.2"),
    ];
    let plan = plan(&[], &present, &owner());
    assert_eq!(
        lines(&plan),
        [
            "delete A a.test: 192.0.2.1",
            "delete TXT _railhead-owner.a.test: railhead-owner=00000000-0000-0000-0000-000000000000",
        ]
    );
}

#[test]
fn what_is_not_ours_is_named_with_what_to_do() {
    let goals = [
        Goal::Set(set("a.test", Kind::A, "192.0.2.1")),
        Goal::Set(set("b.test", Kind::A, "192.0.2.1")),
        Goal::Set(set("c.test", Kind::A, "192.0.2.1")),
    ];
    let theirs = Owner::new(Uuid::max());
    let present = [
        set("a.test", Kind::A, "198.51.100.1"),
        theirs.mark("b.test"),
        owner().mark("c.test"),
        set("c.test", Kind::Cname, "elsewhere.test."),
    ];
    let plan = plan(&goals, &present, &owner());
    assert_eq!(plan.changes, []);
    let said: Vec<String> = plan.foreign.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(said.join("\n"), @r#"
    a.test has A records without our mark; remove that, or give it to the platform: TXT _railhead-owner.a.test "railhead-owner=00000000-0000-0000-0000-000000000000"
    b.test is another installation's: TXT _railhead-owner.b.test says "railhead-owner=ffffffff-ffff-ffff-ffff-ffffffffffff"
    c.test has CNAME records, which this platform did not make so; remove that
    "#);
}

#[test]
fn the_last_addresses_of_a_wanted_name_stay_whatever_they_are() {
    let old = set("a.test", Kind::A, "192.0.2.1");
    let present = [owner().mark("a.test"), old.clone()];
    let goals = [Goal::Keep(set("a.test", Kind::Aaaa, "").key())];
    let plan = plan(&goals, &present, &owner());
    assert_eq!(plan.changes, []);
    assert_eq!(plan.kept, [old.key()]);
}

/// What a provider does with the changes.
fn apply(present: &[RecordSet], changes: &[Change]) -> Vec<RecordSet> {
    let mut by_key: BTreeMap<Key, RecordSet> =
        present.iter().map(|set| (set.key(), set.clone())).collect();
    for change in changes {
        match change {
            Change::Create(new) => {
                let before = by_key.insert(new.key(), new.clone());
                assert_eq!(before, None, "was there already");
            }
            Change::Replace { old, new } => {
                assert_eq!(old.key(), new.key());
                assert_eq!(by_key.insert(new.key(), new.clone()).as_ref(), Some(old));
            }
            Change::Delete(old) => assert_eq!(by_key.remove(&old.key()).as_ref(), Some(old)),
        }
    }
    by_key.into_values().collect()
}

const NAMES: [&str; 3] = ["a.test", "b.test", "*.a.test"];

fn routing() -> impl Strategy<Value = Routing> {
    let by = |id: &str| Routing::By {
        id: id.to_owned(),
        place: crate::dns::record::Place::Default,
        check: None,
    };
    prop_oneof![
        4 => Just(Routing::Simple),
        3 => select(vec![by("one"), by("two")]),
        1 => Just(Routing::Foreign { id: Some("one".to_owned()) }),
    ]
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![6 => Just(Kind::A), 4 => Just(Kind::Aaaa), 1 => Just(Kind::Cname)]
}

fn values() -> impl Strategy<Value = BTreeSet<String>> {
    btree_set(
        select(vec!["1".to_owned(), "2".to_owned(), "3".to_owned()]),
        1..3,
    )
}

fn record_set() -> impl Strategy<Value = RecordSet> {
    (select(NAMES.to_vec()), kind(), routing(), values()).prop_map(
        |(name, kind, routing, values)| RecordSet {
            name: name.to_owned(),
            kind,
            routing,
            ttl: 60,
            values,
        },
    )
}

/// None, ours, ours with another TTL, or somebody else's.
fn mark() -> impl Strategy<Value = Option<RecordSet>> {
    let marked = (select(NAMES.to_vec()), 0..3_u8).prop_map(|(name, whose)| {
        let mut mark = owner().mark(name);
        match whose {
            0 => {}
            1 => mark.ttl += 1,
            _ => mark = Owner::new(Uuid::max()).mark(name),
        }
        mark
    });
    proptest::option::of(marked)
}

fn zone() -> impl Strategy<Value = Vec<RecordSet>> {
    (vec(record_set(), 0..6), vec(mark(), 0..4)).prop_map(|(sets, marks)| {
        let all = sets.into_iter().chain(marks.into_iter().flatten());
        let by_key: BTreeMap<Key, RecordSet> = all.map(|set| (set.key(), set)).collect();
        by_key.into_values().collect()
    })
}

/// What is asked for has a shape of ours.
fn goal_list() -> impl Strategy<Value = Vec<Goal>> {
    let ours = record_set().prop_filter("ours to write", |set| {
        set.kind != Kind::Cname && !matches!(set.routing, Routing::Foreign { .. })
    });
    let goal = (ours, any::<bool>()).prop_map(|(set, keep)| {
        if keep {
            (set.key(), Goal::Keep(set.key()))
        } else {
            (set.key(), Goal::Set(set))
        }
    });
    vec(goal, 0..6).prop_map(|goals| {
        let by_key: BTreeMap<Key, Goal> = goals.into_iter().collect();
        by_key.into_values().collect()
    })
}

fn addresses<'a>(zone: &'a [RecordSet], name: &str) -> Vec<&'a RecordSet> {
    let is_address = |set: &&RecordSet| set.name == name && set.kind != Kind::Txt;
    zone.iter().filter(is_address).collect()
}

proptest! {
    #[test]
    fn applied_it_leads_to_the_goals_and_a_second_one_is_empty(goals in goal_list(), before in zone()) {
        let first = plan(&goals, &before, &owner());
        let after = apply(&before, &first.changes);
        let foreign: BTreeSet<&str> = first.foreign.iter().map(|one| one.name.as_str()).collect();
        for goal in &goals {
            if let Goal::Set(wanted) = goal && !foreign.contains(wanted.name.as_str()) {
                prop_assert!(after.contains(wanted), "{wanted:?} is not in {after:?}");
                prop_assert!(after.contains(&owner().mark(&wanted.name)));
            }
        }
        let second = plan(&goals, &after, &owner());
        prop_assert_eq!(second.changes, vec![]);
        prop_assert_eq!(second.foreign, first.foreign);
    }

    #[test]
    fn what_is_not_ours_is_in_no_change(goals in goal_list(), before in zone()) {
        let plan = plan(&goals, &before, &owner());
        let ours: BTreeSet<String> = before.iter().filter_map(|set| owner().marked(set)).collect();
        for change in &plan.changes {
            let name = crate::dns::owner::marked_name(change.name());
            let name = name.unwrap_or_else(|| change.name().to_owned());
            let is_free = addresses(&before, &name).is_empty()
                && !before.iter().any(|set| set.name == mark_name(&name));
            prop_assert!(ours.contains(&name) || is_free, "{change} in {before:?}");
        }
    }

    #[test]
    fn no_wanted_name_loses_its_last_addresses(goals in goal_list(), before in zone()) {
        let plan = plan(&goals, &before, &owner());
        let after = apply(&before, &plan.changes);
        for goal in &goals {
            let name = goal.key().name;
            let had = !addresses(&before, &name).is_empty();
            prop_assert!(!had || !addresses(&after, &name).is_empty(), "{name}: {before:?}");
        }
    }
}
