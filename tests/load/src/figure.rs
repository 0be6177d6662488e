//! Figures as `./dev bench` reads them.

use std::time::Duration;

use serde::Serialize;
use testkit::verdict;

/// One figure, with what is promised of it, or what it must be for the others to prove anything.
#[derive(Debug, Clone, Serialize)]
pub struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    at_most: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at_least: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    needed: Option<f64>,
}

/// What became of a benchmark.
pub type Verdict = verdict::Verdict<String>;

impl Figure {
    /// A figure that nothing is promised of.
    pub fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self {
            name: name.into(),
            value,
            unit,
            at_most: None,
            at_least: None,
            needed: None,
        }
    }

    /// The most it may be.
    pub fn at_most(mut self, bar: f64) -> Self {
        self.at_most = Some(bar);
        self
    }

    /// The least it may be.
    pub fn at_least(mut self, bar: f64) -> Self {
        self.at_least = Some(bar);
        self
    }

    /// With less the run proves nothing.
    pub fn needed(mut self, least: f64) -> Self {
        self.needed = Some(least);
        self
    }

    /// What is promised and not so. What is no number keeps no promise.
    fn miss(&self) -> Option<String> {
        let Self {
            name, value, unit, ..
        } = self;
        match (self.at_most, self.at_least) {
            (Some(bar), _) if !is_at_least(bar, *value) => Some(format!(
                "{name} is {value:.3} {unit}, at most {bar:.3} is promised"
            )),
            (_, Some(bar)) if !is_at_least(*value, bar) => Some(format!(
                "{name} is {value:.3} {unit}, at least {bar:.3} is promised"
            )),
            _ => None,
        }
    }

    fn lack(&self) -> Option<String> {
        let Self {
            name, value, unit, ..
        } = self;
        let needed = self.needed.filter(|needed| !is_at_least(*value, *needed))?;
        Some(format!(
            "{name} is {value:.3} {unit}, {needed:.3} are needed"
        ))
    }
}

/// Never of what is no number.
fn is_at_least(value: f64, bar: f64) -> bool {
    value >= bar
}

/// Whether everything is as promised, by what was measured alone.
pub fn judge(figures: &[Figure]) -> Verdict {
    let misses = figures.iter().filter_map(Figure::miss);
    let lacks = figures.iter().filter_map(Figure::lack);
    Verdict::of(misses.collect(), lacks.collect())
}

/// Shows figures as soon as they are there: a long benchmark may be ended before its last ones.
pub fn tell(figures: &[Figure]) {
    for figure in figures {
        eprintln!("{} = {:.3} {}", figure.name, figure.value, figure.unit);
    }
}

/// The time that `percent` of the samples don't exceed (nearest rank).
pub fn percentile(samples: &[Duration], percent: usize) -> Duration {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

/// A count as a figure.
#[expect(clippy::cast_precision_loss, reason = "counts here are small")]
pub fn count(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(figure: Figure) -> Verdict {
        judge(&[Figure::new("a", 0.0, "").at_most(0.0), figure])
    }

    #[test]
    fn a_figure_at_its_bar_keeps_the_promise_and_one_beyond_it_does_not() {
        let at = |value| Figure::new("b", value, "s");
        for kept in [at(2.0), at(2.0).at_most(2.0), at(2.0).at_least(2.0)] {
            assert_eq!(judged(kept), Verdict::Pass);
        }
        for missed in [at(2.1).at_most(2.0), at(1.9).at_least(2.0)] {
            assert!(matches!(judged(missed), Verdict::Fail(wrong) if wrong.len() == 1));
        }
        for unknown in [at(f64::NAN).at_most(2.0), at(f64::NAN).at_least(2.0)] {
            assert!(matches!(judged(unknown), Verdict::Fail(_)));
        }
    }

    #[test]
    fn too_little_proves_nothing_and_excuses_nothing() {
        let little = || Figure::new("b", 9.0, "agents").needed(10.0);
        assert!(matches!(judged(little()), Verdict::Invalid(why) if why.len() == 1));
        assert_eq!(judged(little().needed(9.0)), Verdict::Pass);
        let missed = Figure::new("c", 2.0, "s").at_most(1.0);
        assert!(matches!(judge(&[little(), missed]), Verdict::Fail(_)));
    }
}
