//! Programs that measure by themselves and print what they found: a JSON array as the last line.

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::Measurement;
use crate::{cargo::cargo, command::CommandExt as _};

#[derive(Deserialize)]
struct Measured {
    name: String,
    value: f64,
    unit: String,
    at_most: Option<f64>,
    at_least: Option<f64>,
    needed: Option<f64>,
}

/// Runs a package's benchmark in the bench profile.
pub fn bench(package: &str, benchmark: &str) -> Result<Vec<Measurement>> {
    let arguments = [
        "bench",
        "--quiet",
        "--package",
        package,
        "--bench",
        benchmark,
    ];
    read(&cargo(arguments)?.read()?)
}

/// What a program printed.
pub fn read(output: &str) -> Result<Vec<Measurement>> {
    let json = output
        .lines()
        .rfind(|line| line.starts_with('['))
        .context("the benchmark printed no results")?;
    let measured: Vec<Measured> =
        serde_json::from_str(json).context("reading the benchmark's results")?;
    Ok(measured.into_iter().map(measurement).collect())
}

fn measurement(measured: Measured) -> Measurement {
    let figure = Measurement::new(measured.name, measured.value, &measured.unit);
    match (measured.at_most, measured.at_least, measured.needed) {
        (Some(bar), ..) => figure.at_most(bar),
        (_, Some(bar), _) => figure.at_least(bar),
        (.., Some(least)) => figure.needed(least),
        (None, None, None) => figure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_of_json_counts_with_its_bars() {
        let output = "[]\nnoise\n[{\"name\":\"a\",\"value\":2,\"unit\":\"ms\",\"at_most\":1},\
                      {\"name\":\"b\",\"value\":2,\"unit\":\"\",\"needed\":3}]\n";
        let results = read(output).unwrap();
        assert_eq!(results.len(), 2);
        assert_eq!(results[0].pass, Some(false));
        assert_eq!((results[1].pass, results[1].needed), (None, Some(3.0)));
    }
}
