//! W3C trace context (<https://www.w3.org/TR/trace-context/>): a random trace per client and a
//! span per request, so that one id finds a command in every component's traces.

use std::fmt;

use rand::RngExt;

/// A trace that this program began.
#[derive(Debug, Clone, Copy)]
pub struct Trace {
    id: u128,
}

impl Trace {
    /// A new trace with a random id that is not zero.
    #[must_use]
    pub fn start() -> Self {
        Self {
            id: rand::rng().random_range(1..=u128::MAX),
        }
    }

    /// The header for one request: a new span of this trace, sampled.
    #[must_use]
    pub fn traceparent(&self) -> String {
        let span: u64 = rand::rng().random_range(1..=u64::MAX);
        format!("00-{self}-{span:016x}-01")
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_differ_within_one_trace() {
        let trace = Trace::start();
        let (first, second) = (trace.traceparent(), trace.traceparent());
        assert_eq!(first.len(), 55);
        assert_eq!(first[..36], second[..36]);
        assert_ne!(first, second);
    }
}
