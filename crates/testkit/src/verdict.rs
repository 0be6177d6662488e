//! What a judge says of a run. A judge is pure: the same history gives the same verdict, so that it can be shown a fault.

use std::fmt;

/// What became of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict<V> {
    /// All is as promised.
    Pass,
    /// It is not.
    Fail(Vec<V>),
    /// Nothing was seen to be wrong, and not enough was tried.
    Invalid(Vec<String>),
}

impl<V> Verdict<V> {
    /// Something wrong is wrong also in a run that did too little.
    #[must_use]
    pub fn of(wrong: Vec<V>, too_little: Vec<String>) -> Self {
        if !wrong.is_empty() {
            Self::Fail(wrong)
        } else if !too_little.is_empty() {
            Self::Invalid(too_little)
        } else {
            Self::Pass
        }
    }

    /// Whether all is as promised.
    #[must_use]
    pub const fn is_pass(&self) -> bool {
        matches!(self, Self::Pass)
    }
}

impl<V: fmt::Display> fmt::Display for Verdict<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pass => f.write_str("pass"),
            Self::Fail(wrong) => lines(f, "fail:", wrong),
            Self::Invalid(reasons) => lines(f, "an invalid run:", reasons),
        }
    }
}

fn lines(f: &mut fmt::Formatter<'_>, title: &str, reasons: &[impl fmt::Display]) -> fmt::Result {
    writeln!(f, "{title}")?;
    reasons
        .iter()
        .try_for_each(|reason| writeln!(f, "  {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_counts_before_what_is_too_little() {
        let too_little = || vec!["1 request, wanted 2".to_owned()];
        let told = [
            Verdict::of(vec!["torn"], too_little()),
            Verdict::of(Vec::new(), too_little()),
            Verdict::of(Vec::new(), Vec::new()),
        ]
        .map(|verdict| (verdict.to_string(), verdict.is_pass()));
        let expected = [
            ("fail:\n  torn\n", false),
            ("an invalid run:\n  1 request, wanted 2\n", false),
            ("pass", true),
        ];
        assert_eq!(told, expected.map(|(text, pass)| (text.to_owned(), pass)));
    }
}
