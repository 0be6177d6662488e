//! Figures as `./dev bench` reads them.

use std::time::Duration;

use serde::Serialize;

/// One figure, with what is promised of it.
#[derive(Debug, Serialize)]
pub struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    at_most: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at_least: Option<f64>,
}

impl Figure {
    /// A figure that nothing is promised of.
    pub fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self {
            name: name.into(),
            value,
            unit,
            at_most: None,
            at_least: None,
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
