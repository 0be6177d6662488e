//! Which lines were shown, so that a stream can be taken up again a little earlier than it broke
//! off (clocks of nodes differ) without showing a line twice.

use std::{
    collections::{HashSet, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
};

use ::api::log::LogRecord;
use chrono::{DateTime, Duration, Utc};

/// How many lines are remembered.
const REMEMBERED: usize = 10_000;
/// How much earlier a stream is taken up again.
const OVERLAP: Duration = Duration::seconds(5);

/// The newest lines that were shown.
#[derive(Debug, Default)]
pub struct Seen {
    newest: Option<DateTime<Utc>>,
    order: VecDeque<u64>,
    known: HashSet<u64>,
    resumed: bool,
    total: u64,
}

impl Seen {
    /// Whether a record is to be shown; remembers it. Equal lines count as new until a stream is
    /// taken up again, for a program may well say the same thing twice.
    pub fn is_new(&mut self, record: &LogRecord) -> bool {
        let at = match record {
            LogRecord::Line(line) => line.at,
            LogRecord::Gap { at, .. } => *at,
            LogRecord::Idle => return false,
        };
        let key = key(record);
        if self.resumed && self.known.contains(&key) {
            return false;
        }
        self.newest = self.newest.max(Some(at));
        self.remember(key);
        true
    }

    /// How many records were shown.
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// From when on to ask again; `None` when nothing was shown yet.
    pub fn resume_from(&mut self) -> Option<DateTime<Utc>> {
        self.resumed = self.newest.is_some();
        self.newest.map(|newest| newest - OVERLAP)
    }

    fn remember(&mut self, key: u64) {
        self.total += 1;
        if self.known.insert(key) {
            self.order.push_back(key);
        }
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

fn key(record: &LogRecord) -> u64 {
    let mut hasher = DefaultHasher::new();
    match record {
        LogRecord::Line(line) => (line.at, line.instance_id, &line.text).hash(&mut hasher),
        LogRecord::Gap {
            instance_id,
            at,
            dropped,
        } => (at, instance_id, dropped).hash(&mut hasher),
        LogRecord::Idle => {}
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use ::api::log::{LogLine, LogStream};

    use super::*;

    fn line(second: i64, text: &str) -> LogRecord {
        LogRecord::Line(LogLine {
            at: DateTime::from_timestamp(1_000 + second, 0).unwrap(),
            instance_id: None,
            build_id: None,
            deployment_id: None,
            region: None,
            stream: LogStream::Stdout,
            text: text.into(),
        })
    }

    #[test]
    fn after_a_break_only_new_lines_are_shown() {
        let mut seen = Seen::default();
        assert!(seen.is_new(&line(1, "a")) && seen.is_new(&line(2, "b")));
        assert_eq!(seen.resume_from().unwrap().timestamp(), 997);
        assert!(!seen.is_new(&line(1, "a")) && !seen.is_new(&line(2, "b")));
        assert!(seen.is_new(&line(1, "late, from another node")));
        assert!(seen.is_new(&line(3, "c")));
    }

    #[test]
    fn a_program_may_say_the_same_twice() {
        let mut seen = Seen::default();
        assert!(seen.is_new(&line(1, "a")) && seen.is_new(&line(1, "a")));
        assert!(!seen.is_new(&LogRecord::Idle));
    }

    #[test]
    fn memory_is_bounded() {
        let mut seen = Seen::default();
        for second in 0..REMEMBERED as i64 + 50 {
            seen.is_new(&line(second, "x"));
        }
        assert_eq!(
            (seen.order.len(), seen.known.len()),
            (REMEMBERED, REMEMBERED)
        );
    }
}
