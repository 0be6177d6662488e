//! Between sets of records and the messages of RFC 1035 and RFC 2136.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, Ipv6Addr},
};

use hickory_proto::{
    op::{Message, OpCode, Query, UpdateMessage as _},
    rr::{
        DNSClass, Name, RData, Record, RecordType,
        rdata::{A, AAAA, TXT},
    },
};

use crate::dns::{
    owner::Owner,
    plan::Change,
    record::{Key, Kind, RecordSet, Routing},
};

/// A string of a TXT record.
const TEXT_BYTES: usize = 255;
/// Of a record that answers a challenge.
const CHALLENGE_TTL: u32 = 60;

/// Asks for the whole zone.
pub(super) fn transfer(zone: &Name) -> Message {
    let mut message = Message::query();
    message.metadata.recursion_desired = false;
    message.add_query(Query::query(zone.clone(), RecordType::AXFR));
    message
}

/// All of the changes, or none of them. A name has to have our mark still, and where something is created there has
/// to be nothing.
pub(super) fn update(zone: &Name, changes: &[Change], owner: &Owner) -> Result<Message, String> {
    let mut message = empty_update(zone);
    let mut checked = BTreeSet::new();
    for change in changes {
        match change {
            Change::Create(new) => {
                let absent = about(new, DNSClass::NONE)?;
                message.add_pre_requisite(absent);
                insert(&mut message, new)?;
            }
            Change::Replace { old, new } => {
                message.add_update(about(old, DNSClass::ANY)?);
                insert(&mut message, new)?;
            }
            Change::Delete(old) => {
                message.add_update(about(old, DNSClass::ANY)?);
            }
        }
        let mark = mark_of(change, owner);
        let is_made =
            |other: &Change| matches!(other, Change::Create(set) if set.name == mark.name);
        if !changes.iter().any(is_made) && checked.insert(mark.name.clone()) {
            for mut record in records(&mark)? {
                record.ttl = 0;
                message.add_pre_requisite(record);
            }
        }
    }
    Ok(message)
}

/// The mark that the change depends on: its name's, or it is the mark itself.
fn mark_of(change: &Change, owner: &Owner) -> RecordSet {
    match change {
        Change::Create(set) | Change::Replace { old: set, .. } | Change::Delete(set) => {
            match owner.marked(set) {
                Some(name) => owner.mark(&name),
                None => owner.mark(&set.name),
            }
        }
    }
}

/// Adds a TXT record to what is there.
pub(super) fn put_text(zone: &Name, name: &str, value: &str) -> Result<Message, String> {
    let mut message = empty_update(zone);
    message.add_update(text(name, value)?);
    Ok(message)
}

/// Takes that one away.
pub(super) fn remove_text(zone: &Name, name: &str, value: &str) -> Result<Message, String> {
    let mut message = empty_update(zone);
    let mut record = text(name, value)?;
    record.ttl = 0;
    record.dns_class = DNSClass::NONE;
    message.add_update(record);
    Ok(message)
}

fn empty_update(zone: &Name) -> Message {
    let mut message = Message::query();
    message.metadata.op_code = OpCode::Update;
    message.metadata.recursion_desired = false;
    message.add_zone(Query::query(zone.clone(), RecordType::SOA));
    message
}

fn text(name: &str, value: &str) -> Result<Record, String> {
    let data = RData::TXT(texts(value)?);
    Ok(Record::from_rdata(parsed(name)?, CHALLENGE_TTL, data))
}

fn texts(value: &str) -> Result<TXT, String> {
    if value.len() > TEXT_BYTES {
        return Err(format!("a text of more than {TEXT_BYTES} bytes"));
    }
    Ok(TXT::new(vec![value.to_owned()]))
}

/// A whole set as a condition (class NONE: there is none) or to be deleted (class ANY).
fn about(set: &RecordSet, class: DNSClass) -> Result<Record, String> {
    let mut record = Record::update0(parsed(&set.name)?, 0, record_type(set.kind));
    record.dns_class = class;
    Ok(record)
}

fn insert(message: &mut Message, set: &RecordSet) -> Result<(), String> {
    message.add_updates(records(set)?);
    Ok(())
}

/// One record for each value.
fn records(set: &RecordSet) -> Result<Vec<Record>, String> {
    let name = parsed(&set.name)?;
    let record = |value: &String| {
        let data = data(set.kind, value)?;
        Ok(Record::from_rdata(name.clone(), set.ttl, data))
    };
    set.values.iter().map(record).collect()
}

fn data(kind: Kind, value: &str) -> Result<RData, String> {
    let unfit = || format!("\"{value}\" as {}", kind.as_str());
    Ok(match kind {
        Kind::A => RData::A(A(value.parse::<Ipv4Addr>().map_err(|_| unfit())?)),
        Kind::Aaaa => RData::AAAA(AAAA(value.parse::<Ipv6Addr>().map_err(|_| unfit())?)),
        Kind::Txt => RData::TXT(texts(value)?),
        // Never ours.
        Kind::Cname => return Err(unfit()),
    })
}

const fn record_type(kind: Kind) -> RecordType {
    match kind {
        Kind::A => RecordType::A,
        Kind::Aaaa => RecordType::AAAA,
        Kind::Cname => RecordType::CNAME,
        Kind::Txt => RecordType::TXT,
    }
}

fn parsed(name: &str) -> Result<Name, String> {
    Name::from_ascii(format!("{name}.")).map_err(|error| format!("the name {name} ({error})"))
}

/// Records of other kinds do not matter.
pub(super) const fn kind(record: &Record) -> Option<Kind> {
    match record.data {
        RData::A(_) => Some(Kind::A),
        RData::AAAA(_) => Some(Kind::Aaaa),
        RData::CNAME(_) => Some(Kind::Cname),
        RData::TXT(_) => Some(Kind::Txt),
        _ => None,
    }
}

/// Records of a zone as sets.
pub(super) fn record_sets(records: &[Record]) -> Vec<RecordSet> {
    let mut sets: BTreeMap<Key, RecordSet> = BTreeMap::new();
    for record in records {
        let (Some(kind), Some(value)) = (kind(record), value(&record.data)) else {
            continue;
        };
        let name = record.name.to_lowercase().to_ascii();
        let empty = RecordSet {
            name: name.trim_end_matches('.').to_owned(),
            kind,
            routing: Routing::Simple,
            ttl: record.ttl,
            values: BTreeSet::new(),
        };
        let set = sets.entry(empty.key()).or_insert(empty);
        set.values.insert(value);
    }
    sets.into_values().collect()
}

fn value(data: &RData) -> Option<String> {
    match data {
        RData::A(address) => Some(address.0.to_string()),
        RData::AAAA(address) => Some(address.0.to_string()),
        RData::CNAME(target) => Some(target.0.to_ascii()),
        RData::TXT(text) => {
            let pieces = text.txt_data.iter();
            let bytes: Vec<u8> = pieces.flat_map(|piece| piece.iter().copied()).collect();
            Some(String::from_utf8_lossy(&bytes).into_owned())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
