//! Between sets of records and what Route 53 calls so.

use aws_sdk_route53::types::{
    self, ChangeAction, GeoLocation, ResourceRecord, ResourceRecordSet, ResourceRecordSetRegion,
    RrType,
};

use crate::dns::{
    plan::Change,
    provider::Error,
    record::{Kind, Place, RecordSet, Routing},
};

use super::{checks::Checks, unfit};

/// A string of a TXT record.
const TEXT_BYTES: usize = 255;
/// Stands for every place in a geolocation.
const EVERYWHERE: &str = "*";

/// Lower case, without a dot at its end, and the asterisk as itself: Route 53 writes it `\052`.
pub(super) fn plain_name(name: &str) -> String {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    match name.strip_prefix("\\052.") {
        Some(parent) => format!("*.{parent}"),
        None => name,
    }
}

/// Whether names at or below the domain may still follow this one, by labels from the right.
pub(super) fn sorts_within(name: &str, domain: &str) -> bool {
    reversed(name).starts_with(&reversed(domain))
}

fn reversed(name: &str) -> String {
    let labels: Vec<&str> = name.rsplit('.').collect();
    labels.join(".")
}

/// None of kinds that do not matter.
pub(super) fn record_set(set: &ResourceRecordSet, checks: &Checks) -> Option<RecordSet> {
    let kind = match &set.r#type {
        RrType::A => Kind::A,
        RrType::Aaaa => Kind::Aaaa,
        RrType::Cname => Kind::Cname,
        RrType::Txt => Kind::Txt,
        _ => return None,
    };
    let values = set.resource_records().iter().map(|record| match kind {
        Kind::Txt => unquoted(&record.value),
        Kind::A | Kind::Aaaa | Kind::Cname => record.value.clone(),
    });
    Some(RecordSet {
        name: plain_name(&set.name),
        kind,
        routing: routing(set, checks),
        ttl: set.ttl.and_then(|ttl| u32::try_from(ttl).ok()).unwrap_or(0),
        values: values.collect(),
    })
}

fn routing(set: &ResourceRecordSet, checks: &Checks) -> Routing {
    let id = set.set_identifier.clone();
    let is_foreign = set.alias_target.is_some()
        || set.weight.is_some()
        || set.failover.is_some()
        || set.multi_value_answer == Some(true)
        || set.traffic_policy_instance_id.is_some()
        || set.cidr_routing_config.is_some()
        || set.geo_proximity_location.is_some();
    let check = set.health_check_id.as_deref();
    match (place(set), &id) {
        (Some(place), Some(id)) if !is_foreign => Routing::By {
            id: id.clone(),
            place,
            check: check.map(|check| checks.described(check)),
        },
        (None, None) if !is_foreign && check.is_none() && set.geo_location.is_none() => {
            Routing::Simple
        }
        _ => Routing::Foreign { id },
    }
}

fn place(set: &ResourceRecordSet) -> Option<Place> {
    if let Some(region) = &set.region {
        return Some(Place::AwsRegion(region.as_str().to_owned()));
    }
    let location = set.geo_location.as_ref()?;
    let GeoLocation {
        continent_code,
        country_code,
        subdivision_code,
        ..
    } = location;
    match (continent_code, country_code, subdivision_code) {
        (Some(code), None, None) => Some(Place::Continent(code.clone())),
        (None, Some(code), None) if code == EVERYWHERE => Some(Place::Default),
        (None, Some(code), None) => Some(Place::Country(code.clone())),
        _ => None,
    }
}

/// One step of a batch. What is replaced is written over: that it is ours was seen when it was read.
pub(super) fn change(change: &Change, checks: &Checks) -> Result<types::Change, Error> {
    match change {
        Change::Create(set) => step(ChangeAction::Create, resource(set, checks)?),
        Change::Replace { new, .. } => step(ChangeAction::Upsert, resource(new, checks)?),
        Change::Delete(set) => step(ChangeAction::Delete, resource(set, checks)?),
    }
}

pub(super) fn step(action: ChangeAction, set: ResourceRecordSet) -> Result<types::Change, Error> {
    types::Change::builder()
        .action(action)
        .resource_record_set(set)
        .build()
        .map_err(unfit)
}

fn resource(set: &RecordSet, checks: &Checks) -> Result<ResourceRecordSet, Error> {
    let values = set.values.iter().map(|value| match set.kind {
        Kind::Txt => record(quoted(value)?),
        Kind::A | Kind::Aaaa | Kind::Cname => record(value.clone()),
    });
    let mut made = ResourceRecordSet::builder()
        .name(&set.name)
        .r#type(record_type(set.kind))
        .ttl(i64::from(set.ttl))
        .set_resource_records(Some(values.collect::<Result<_, _>>()?));
    if let Routing::By { id, place, check } = &set.routing {
        let check = check.as_ref().map(|check| checks.id(check)).transpose()?;
        made = made.set_identifier(id).set_health_check_id(check);
        made = match place {
            Place::AwsRegion(name) => made.region(ResourceRecordSetRegion::from(name.as_str())),
            Place::Continent(code) => {
                made.geo_location(GeoLocation::builder().continent_code(code).build())
            }
            Place::Country(code) => {
                made.geo_location(GeoLocation::builder().country_code(code).build())
            }
            Place::Default => {
                made.geo_location(GeoLocation::builder().country_code(EVERYWHERE).build())
            }
        };
    }
    made.build().map_err(unfit)
}

const fn record_type(kind: Kind) -> RrType {
    match kind {
        Kind::A => RrType::A,
        Kind::Aaaa => RrType::Aaaa,
        Kind::Cname => RrType::Cname,
        Kind::Txt => RrType::Txt,
    }
}

/// A TXT set of a challenge; `values` are as Route 53 writes them.
pub(super) fn texts(
    name: &str,
    ttl: i64,
    values: Vec<ResourceRecord>,
) -> Result<ResourceRecordSet, Error> {
    ResourceRecordSet::builder()
        .name(name)
        .r#type(RrType::Txt)
        .ttl(ttl)
        .set_resource_records(Some(values))
        .build()
        .map_err(unfit)
}

pub(super) fn record(value: String) -> Result<ResourceRecord, Error> {
    ResourceRecord::builder()
        .value(value)
        .build()
        .map_err(unfit)
}

/// A text as Route 53 writes it. Ours needs no escapes.
pub(super) fn quoted(text: &str) -> Result<String, Error> {
    let is_plain = |byte: u8| (byte.is_ascii_graphic() || byte == b' ') && !b"\"\\".contains(&byte);
    if text.len() <= TEXT_BYTES && text.bytes().all(is_plain) {
        Ok(format!("\"{text}\""))
    } else {
        Err(Error::Limit(format!(
            "\"{}\" can't be a TXT record: up to {TEXT_BYTES} printable characters without quotes can",
            text.escape_default()
        )))
    }
}

/// What a TXT record says, its pieces joined. Escapes stay: what has some is not ours.
fn unquoted(value: &str) -> String {
    let pieces: Vec<&str> = value.split('"').collect();
    match pieces.as_slice() {
        [_] => value.to_owned(),
        _ => pieces.iter().skip(1).step_by(2).copied().collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::dns::record::Check;

    use super::*;

    fn set(routing: Routing, kind: Kind, value: &str) -> RecordSet {
        RecordSet {
            name: "*.apps.example.com".to_owned(),
            kind,
            routing,
            ttl: 60,
            values: BTreeSet::from([value.to_owned()]),
        }
    }

    fn by(place: Place) -> Routing {
        Routing::By {
            id: "eu-west".to_owned(),
            place,
            check: None,
        }
    }

    #[test]
    fn what_is_written_reads_the_same() {
        let checks = Checks::default();
        for set in [
            set(Routing::Simple, Kind::A, "192.0.2.1"),
            set(Routing::Simple, Kind::Txt, "railhead-owner=1"),
            set(by(Place::Default), Kind::A, "192.0.2.1"),
            set(
                by(Place::Continent("EU".to_owned())),
                Kind::Aaaa,
                "2001:db8::1",
            ),
            set(by(Place::Country("DE".to_owned())), Kind::A, "192.0.2.1"),
            set(
                by(Place::AwsRegion("eu-west-1".to_owned())),
                Kind::A,
                "192.0.2.1",
            ),
        ] {
            let mut written = resource(&set, &checks).unwrap();
            written.name = "\\052.apps.example.com.".to_owned();
            assert_eq!(record_set(&written, &checks), Some(set));
        }
    }

    #[test]
    fn what_we_never_write_is_foreign() {
        let checks = Checks::default();
        let ours = resource(&set(Routing::Simple, Kind::A, "192.0.2.1"), &checks).unwrap();
        let mut weighted = ours.clone();
        weighted.weight = Some(1);
        weighted.set_identifier = Some("a".to_owned());
        let mut checked = ours.clone();
        checked.health_check_id = Some("check".to_owned());
        let mut state = ours;
        state.set_identifier = Some("a".to_owned());
        let location = GeoLocation::builder()
            .country_code("US")
            .subdivision_code("CA");
        state.geo_location = Some(location.build());
        for strange in [weighted, checked, state] {
            let read = record_set(&strange, &checks).unwrap();
            assert!(matches!(read.routing, Routing::Foreign { .. }), "{read:?}");
        }
    }

    #[test]
    fn a_check_that_is_not_ours_is_kept_by_its_id() {
        let checks = Checks::default();
        let mut routing = by(Place::Default);
        if let Routing::By { check, .. } = &mut routing {
            *check = Some(Check::Unknown("1-2".to_owned()));
        }
        let set = set(routing, Kind::A, "192.0.2.1");
        let written = resource(&set, &checks).unwrap();
        assert_eq!(written.health_check_id.as_deref(), Some("1-2"));
        assert_eq!(record_set(&written, &checks), Some(set));
    }

    #[test]
    fn texts_lose_their_quotes_and_get_them_back() {
        for (value, text) in [
            ("\"railhead-owner=1\"", "railhead-owner=1"),
            ("\"one\" \"two\"", "onetwo"),
            ("bare", "bare"),
        ] {
            assert_eq!(unquoted(value), text);
        }
        assert_eq!(quoted("a b").unwrap(), "\"a b\"");
        for bad in ["a\"b", "a\\b", "a\nb", "ü", &"x".repeat(256)] {
            assert!(quoted(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_sibling_whose_name_begins_alike_does_not_end_the_list() {
        let domain = "apps.example.com";
        for (name, within) in [
            ("apps.example.com", true),
            ("apps-old.example.com", true),
            ("a.apps.example.com", true),
            ("b.example.com", false),
            ("example.com", false),
        ] {
            assert_eq!(sorts_within(name, domain), within, "{name}");
        }
    }
}
