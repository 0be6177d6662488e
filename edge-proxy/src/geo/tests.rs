//! Databases as operators supply them: good ones, broken ones, others in their place, none.

use ipnet::IpNet;
use mmdb_writer::{Value, Writer};

use super::*;
use crate::metrics;

fn database(networks: &[(&str, Value)]) -> Vec<u8> {
    let mut writer = Writer::builder("Test-Places")
        .description(&[("en", "For tests")])
        .build();
    for (network, value) in networks {
        let network: IpNet = network.parse().unwrap();
        writer.insert_value(network, value.clone()).unwrap();
    }
    writer.to_bytes().unwrap()
}

fn country(code: &str) -> Value {
    Value::map([("country", Value::map([("iso_code", Value::from(code))]))])
}

fn network(asn: u32) -> Value {
    Value::map([("autonomous_system_number", Value::from(asn))])
}

struct World {
    dir: tempfile::TempDir,
    databases: Databases,
    geo: Geo,
    metrics: Arc<Metrics>,
}

impl World {
    fn new(names: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let paths: Vec<_> = names.iter().map(|name| dir.path().join(name)).collect();
        Self {
            dir,
            databases: Databases::new(&paths),
            geo: Geo::default(),
            metrics: metrics::unregistered().unwrap(),
        }
    }

    /// In one step, as whoever supplies them should.
    fn put(&self, name: &str, content: &[u8]) {
        let path = self.dir.path().join(name);
        let new = self.dir.path().join("new");
        fs::write(&new, content).unwrap();
        fs::rename(new, path).unwrap();
    }

    fn look(&mut self) -> bool {
        let changed = self.databases.refresh(&self.metrics);
        self.databases.publish(&self.geo);
        changed
    }

    fn place(&self, address: &str) -> (String, u32) {
        let place = self.geo.place(address.parse().unwrap());
        (place.country().to_owned(), place.asn)
    }
}

fn nowhere() -> (String, u32) {
    (String::new(), 0)
}

#[test]
fn two_databases_say_it_together() {
    let mut world = World::new(&["countries", "networks"]);
    let countries = [
        ("203.0.113.0/24", country("DE")),
        ("2001:db8::/32", country("fr")),
    ];
    world.put("countries", &database(&countries));
    world.put("networks", &database(&[("203.0.0.0/16", network(64_500))]));
    assert!(world.look());
    assert_eq!(world.place("203.0.113.7"), ("DE".to_owned(), 64_500));
    assert_eq!(world.place("::ffff:203.0.113.7"), ("DE".to_owned(), 64_500));
    assert_eq!(world.place("2001:db8::1"), ("FR".to_owned(), 0));
    assert_eq!(world.place("203.0.114.7"), (String::new(), 64_500));
    assert_eq!(world.place("198.51.100.1"), nowhere());
    assert!(!world.look(), "nothing has changed");
}

#[test]
fn another_file_takes_the_place_of_the_first_and_a_broken_one_does_not() {
    let mut world = World::new(&["countries"]);
    let german = database(&[("203.0.113.0/24", country("DE"))]);
    world.put("countries", &german);
    assert!(world.look());
    world.put("countries", &database(&[("203.0.113.0/24", country("FR"))]));
    assert!(world.look());
    let french = ("FR".to_owned(), 0);
    assert_eq!(world.place("203.0.113.7"), french);
    for broken in [&b""[..], b"not a database", &german[..german.len() / 2]] {
        world.put("countries", broken);
        assert!(!world.look());
        assert!(!world.look(), "it is looked at once");
        assert_eq!(world.place("203.0.113.7"), french, "the last good one");
    }
    fs::remove_file(world.dir.path().join("countries")).unwrap();
    assert!(!world.look());
    assert_eq!(world.place("203.0.113.7"), french, "it is being replaced");
    world.put("countries", &german);
    assert!(world.look());
    assert_eq!(world.place("203.0.113.7").0, "DE");
}

#[test]
fn without_a_database_nothing_is_known() {
    let mut none = World::new(&[]);
    assert!(!none.look());
    assert_eq!(none.place("203.0.113.7"), nowhere());
    let mut missing = World::new(&["countries"]);
    assert!(!missing.look());
    assert_eq!(missing.place("203.0.113.7"), nowhere());
    missing.put("countries", &database(&[("203.0.113.0/24", country("DE"))]));
    assert!(missing.look(), "it came later");
    assert_eq!(missing.place("203.0.113.7").0, "DE");
}

#[test]
fn records_of_another_shape_say_nothing() {
    let mut world = World::new(&["odd"]);
    let odd = [
        ("203.0.113.0/25", Value::from("a text")),
        (
            "203.0.113.128/25",
            Value::map([("country", Value::from("DE"))]),
        ),
    ];
    world.put("odd", &database(&odd));
    world.look();
    for address in ["203.0.113.7", "203.0.113.200"] {
        assert_eq!(world.place(address), nowhere());
    }
}
