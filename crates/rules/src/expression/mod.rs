//! A condition: text, a syntax tree by the crate `cel`, a typed tree of ours, true or false.

mod lower;
mod parse;
mod tree;

#[cfg(test)]
mod tests;

use std::fmt;

use http::HeaderName;
use regex::Regex;

pub(crate) use parse::with_room;
use tree::Condition;

use crate::Request;

/// Steps of one condition, with those of `exists` and `all` counted for each element.
const STEPS_MAX: usize = 256;
/// How deep it may nest.
const DEPTH_MAX: usize = 32;
/// Patterns of one condition, and bytes of each.
const PATTERNS_MAX: usize = 4;
const PATTERN_MAX: usize = 256;
/// Bytes that a compiled pattern may take.
const PATTERN_BYTES: usize = 128 << 10;

/// A condition that has been checked: whatever it is asked about, it answers, and soon.
#[derive(Debug, Clone)]
pub(crate) struct Expression {
    condition: Condition,
    needs_place: bool,
    cost: Cost,
}

/// What a condition, or several, may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Cost {
    /// At each request.
    pub(crate) steps: usize,
    /// In memory.
    pub(crate) patterns: usize,
}

/// What is wrong with a condition, and at which character of it (from 1), where that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Invalid {
    column: Option<u32>,
    reason: String,
}

impl Expression {
    /// Reads a condition. Call it where there is room ([`with_room`]).
    pub(crate) fn compile(text: &str) -> Result<Self, Invalid> {
        let parsed = parse::parse(text)?;
        lower::lower(&parsed)
    }

    /// Whether the request meets it.
    pub(crate) fn holds(&self, request: &Request<'_>) -> bool {
        self.condition.holds(request)
    }

    /// What it takes.
    pub(crate) const fn cost(&self) -> Cost {
        self.cost
    }

    /// Whether it asks where the client is.
    pub(crate) const fn needs_place(&self) -> bool {
        self.needs_place
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.column {
            Some(column) => write!(f, "at character {column}: {}", self.reason),
            None => f.write_str(&self.reason),
        }
    }
}

impl Invalid {
    fn new(column: Option<u32>, reason: impl Into<String>) -> Self {
        Self {
            column,
            reason: reason.into(),
        }
    }
}

fn pattern(text: &str) -> Result<Regex, String> {
    if text.len() > PATTERN_MAX {
        return Err(format!("a pattern has at most {PATTERN_MAX} bytes"));
    }
    let mut builder = regex::RegexBuilder::new(text);
    let built = builder
        .size_limit(PATTERN_BYTES)
        .dfa_size_limit(PATTERN_BYTES)
        .build();
    built.map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => {
            "the pattern is too large when it is compiled".to_owned()
        }
        error => format!("not a pattern: {}", last_line(&error.to_string())),
    })
}

/// The crate draws where the mistake is, over several lines.
fn last_line(text: &str) -> &str {
    text.lines().last().unwrap_or(text).trim()
}

fn header_name(text: &str) -> Result<HeaderName, String> {
    text.parse()
        .map_err(|_| format!("\"{text}\" is not the name of a header"))
}
