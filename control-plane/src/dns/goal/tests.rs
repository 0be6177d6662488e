use super::*;

const DOMAIN: &str = "apps.example.com";

fn region(text: &str) -> Name {
    text.parse().unwrap()
}

fn edge(at: &str, address: &str, is_live: bool) -> Edge {
    Edge {
        region: region(at),
        address: address.parse().unwrap(),
        is_live,
    }
}

fn by_place() -> Shape {
    Shape::ByPlace {
        places: [
            (region("eu-west"), vec![Place::Continent("EU".to_owned())]),
            (region("us-east"), vec![Place::Country("US".to_owned())]),
        ]
        .into(),
        has_default: true,
        domain: DOMAIN.to_owned(),
        check_port: 443,
    }
}

/// One line for each set.
fn shown(edges: &[Edge], shape: &Shape) -> String {
    let goals = goals(edges, &[DOMAIN.to_owned()], shape, 60);
    let lines: Vec<String> = goals.iter().map(line).collect();
    lines.join("\n")
}

fn line(goal: &Goal) -> String {
    match goal {
        Goal::Keep(key) => format!("{key} stays"),
        Goal::Set(set) => {
            let values: Vec<&str> = set.values.iter().map(String::as_str).collect();
            let check = match set.check() {
                Some(Check::Tcp { host, port }) => format!(" while {host}:{port} answers"),
                _ => String::new(),
            };
            format!("{} = {}{check}", set.key(), values.join(" "))
        }
    }
}

#[test]
fn everybody_gets_all_edges_that_are_live() {
    let edges = [
        edge("eu-west", "192.0.2.1", true),
        edge("eu-west", "2001:db8::1", true),
        edge("us-east", "192.0.2.2", false),
        edge("us-east", "192.0.2.3", true),
    ];
    insta::assert_snapshot!(shown(&edges, &Shape::Plain), @r"
    A apps.example.com = 192.0.2.1 192.0.2.3
    AAAA apps.example.com = 2001:db8::1
    ");
}

#[test]
fn each_region_has_its_users_and_the_others_get_all() {
    let edges = [
        edge("eu-west", "192.0.2.1", true),
        edge("us-east", "192.0.2.2", true),
        edge("us-east", "192.0.2.3", false),
        edge("ap-south", "192.0.2.4", true),
    ];
    insta::assert_snapshot!(shown(&edges, &by_place()), @r"
    A apps.example.com (default) = 192.0.2.1 192.0.2.2 192.0.2.4
    A apps.example.com (eu-west continent EU) = 192.0.2.1 while eu-west.edge.apps.example.com:443 answers
    A apps.example.com (us-east country US) = 192.0.2.2 while us-east.edge.apps.example.com:443 answers
    A eu-west.edge.apps.example.com = 192.0.2.1
    A us-east.edge.apps.example.com = 192.0.2.2
    ");
}

#[test]
fn what_no_live_edge_stands_for_stays_and_where_none_is_any_more_goes() {
    let edges = [
        edge("eu-west", "192.0.2.1", false),
        edge("eu-west", "2001:db8::1", true),
    ];
    insta::assert_snapshot!(shown(&edges, &by_place()), @r"
    A apps.example.com (default) stays
    AAAA apps.example.com (default) = 2001:db8::1
    A apps.example.com (eu-west continent EU) stays
    AAAA apps.example.com (eu-west continent EU) = 2001:db8::1 while eu-west.edge.apps.example.com:443 answers
    A eu-west.edge.apps.example.com stays
    AAAA eu-west.edge.apps.example.com = 2001:db8::1
    ");
}

#[test]
fn without_any_edge_everything_stays() {
    insta::assert_snapshot!(shown(&[], &Shape::Plain), @r"
    A apps.example.com stays
    AAAA apps.example.com stays
    ");
    insta::assert_snapshot!(shown(&[], &by_place()), @r"
    A apps.example.com (default) stays
    AAAA apps.example.com (default) stays
    ");
    // Nobody is "everybody else" by latency: what there is of the name stays as a whole.
    let mut by_latency = by_place();
    if let Shape::ByPlace { has_default, .. } = &mut by_latency {
        *has_default = false;
    }
    insta::assert_snapshot!(shown(&[], &by_latency), @"A apps.example.com (default) stays");
}

#[test]
fn a_region_that_only_ipv6_reaches_has_no_check() {
    let edges = [edge("eu-west", "2001:db8::1", true)];
    let shown = shown(&edges, &by_place());
    assert!(!shown.contains("answers"), "{shown}");
}

#[test]
fn of_too_many_addresses_every_region_has_its_share() {
    let many = |at: &str, block: u8| -> Vec<Edge> {
        let address = |n: u8| edge(at, &format!("192.0.{block}.{n}"), true);
        (1..=40).map(address).collect()
    };
    let edges = [many("eu-west", 1), many("us-east", 2)].concat();
    let goals = goals(&edges, &[DOMAIN.to_owned()], &Shape::Plain, 60);
    let [Goal::Set(set)] = goals.as_slice() else {
        panic!("{goals:?}");
    };
    let of = |block: &str| {
        set.values
            .iter()
            .filter(|value| value.starts_with(block))
            .count()
    };
    assert_eq!((of("192.0.1."), of("192.0.2.")), (16, 16));
}

#[test]
fn by_latency_a_region_that_is_nowhere_is_named() {
    let mut shape = by_place();
    let edges = [
        edge("ap-south", "192.0.2.4", true),
        edge("eu-west", "192.0.2.1", true),
    ];
    assert!(unplaced(&edges, &shape).is_empty());
    if let Shape::ByPlace { has_default, .. } = &mut shape {
        *has_default = false;
    }
    assert_eq!(unplaced(&edges, &shape), [region("ap-south")].into());
}
