//! Lines as PostgreSQL's COPY takes them (text format).

use std::fmt::Write;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};

use protocol::log::{LogLine, Stream};

use super::{Kind, Origin};

/// Columns in the order of [`Rows::push`].
pub const STATEMENT: &str = "copy log_line (day, part, organization_id, service_id, deployment_id, \
    source_id, kind, region, line, at, stream, dropped, text) from stdin";

/// A node's clock may be ahead; what is further in the future is stored as now.
const AHEAD_MAX: TimeDelta = TimeDelta::minutes(5);
/// And what is older is stored as this old.
const BEHIND_MAX: TimeDelta = TimeDelta::days(365);

/// Which partition rows go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partition {
    /// Of arrival.
    pub day: NaiveDate,
    /// Counted within the day.
    pub part: i16,
}

/// Rows of one source.
pub struct Rows {
    text: String,
    prefix: String,
    now: DateTime<Utc>,
}

impl Rows {
    /// No rows yet.
    pub fn new(
        partition: Partition,
        origin: &Origin,
        kind: Kind,
        source: uuid::Uuid,
        now: DateTime<Utc>,
    ) -> Self {
        let prefix = format!(
            "{}\t{}\t{}\t{}\t{}\t{source}\t{}\t{}",
            partition.day,
            partition.part,
            origin.organization.uuid(),
            origin.service.uuid(),
            origin.deployment.uuid(),
            kind.as_str(),
            origin.region,
        );
        Self {
            text: String::new(),
            prefix,
            now,
        }
    }

    /// Adds a line; `dropped` were lost before it.
    pub fn push(&mut self, number: u64, line: &LogLine, dropped: u64) {
        let at = if line.at > self.now + AHEAD_MAX {
            self.now
        } else {
            line.at.max(self.now - BEHIND_MAX)
        };
        let stream = match line.stream {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        };
        // Writing into a String can't fail.
        let _ = write!(
            self.text,
            "{}\t{number}\t{}\t{stream}\t{dropped}\t",
            self.prefix,
            at.to_rfc3339()
        );
        escape(&line.text, &mut self.text);
        self.text.push('\n');
    }

    /// What COPY is sent.
    pub fn into_bytes(self) -> Vec<u8> {
        self.text.into_bytes()
    }
}

/// PostgreSQL's text has no NUL; the rest is escaped as its documentation of COPY says.
fn escape(text: &str, to: &mut String) {
    for character in text.chars() {
        match character {
            '\\' => to.push_str("\\\\"),
            '\n' => to.push_str("\\n"),
            '\r' => to.push_str("\\r"),
            '\t' => to.push_str("\\t"),
            '\0' => to.push('\u{fffd}'),
            other => to.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_end_a_row_is_escaped() {
        let mut to = String::new();
        escape("a\tb\\N\n\\.\r\0ä", &mut to);
        assert_eq!(to, "a\\tb\\\\N\\n\\\\.\\r\u{fffd}ä");
    }
}
