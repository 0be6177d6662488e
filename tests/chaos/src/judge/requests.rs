//! A tenant's request may fail only with its edge: in flight when that was killed, or begun while it was
//! away. Whatever else dies, it must not.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use e2e::load::{Outcome, Record};

use super::Violation;
use crate::history::{History, Kill};

pub(super) fn failed(history: &History) -> Vec<Violation> {
    let mut groups: BTreeMap<(String, &str), (usize, DateTime<Utc>)> = BTreeMap::new();
    for record in &history.requests {
        let Outcome::Failed(reason) = &record.outcome else {
            continue;
        };
        if !is_excused(history, record) {
            let group = groups
                .entry((record.edge.to_string(), reason.as_str()))
                .or_insert((0, record.begun));
            group.0 += 1;
            group.1 = group.1.min(record.begun);
        }
    }
    groups
        .into_iter()
        .map(
            |((edge, reason), (count, first))| Violation::RequestFailed {
                edge,
                reason: reason.to_owned(),
                count,
                first: first.to_rfc3339(),
            },
        )
        .collect()
}

/// How many failed and may.
pub(super) fn excused(history: &History) -> usize {
    let failed = |record: &&Record| record.outcome != Outcome::Ok;
    let all = history.requests.iter().filter(failed);
    all.filter(|record| is_excused(history, record)).count()
}

fn is_excused(history: &History, record: &Record) -> bool {
    history.kills.iter().any(|kill| excuses(kill, record))
}

/// Whether the request's edge was away at any moment of it.
fn excuses(kill: &Kill, record: &Record) -> bool {
    let ended = record.begun + record.took;
    kill.edge == Some(record.edge)
        && kill.at <= ended
        && kill.back.is_none_or(|back| record.begun <= back)
}
