//! What became of each request.

use std::{net::SocketAddr, time::Duration};

use chrono::{DateTime, Utc};

use super::Kind;

/// How one request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// As it should.
    Ok,
    /// Failed, and how.
    Failed(String),
}

/// One request.
#[derive(Debug, Clone)]
pub struct Record {
    /// What it was.
    pub kind: Kind,
    /// Through which edge.
    pub edge: SocketAddr,
    /// When it began.
    pub begun: DateTime<Utc>,
    /// Until its whole answer.
    pub took: Duration,
    /// How it ended.
    pub outcome: Outcome,
}

/// Every request of a load.
#[derive(Debug, Clone)]
pub struct Summary {
    /// In the order in which they began.
    pub records: Vec<Record>,
}

impl Summary {
    /// All that failed.
    pub fn failed(&self) -> impl Iterator<Item = &Record> {
        self.records
            .iter()
            .filter(|record| record.outcome != Outcome::Ok)
    }

    /// How many began in `[from, until)`.
    #[must_use]
    pub fn begun_between(&self, from: DateTime<Utc>, until: DateTime<Utc>) -> usize {
        self.records
            .iter()
            .filter(|record| record.begun >= from && record.begun < until)
            .count()
    }

    /// Of one kind.
    pub fn of(&self, kind: Kind) -> impl Iterator<Item = &Record> {
        self.records
            .iter()
            .filter(move |record| record.kind == kind)
    }
}
