//! What a run did, in numbers, beside those of the benchmarks.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use e2e::scale;
use serde_json::{Value, json};

/// The report of a run whose choices come from a seed. It names the seed before anything is done, so that a run that
/// dies can be seen again.
#[derive(Debug)]
pub struct Seeded {
    name: &'static str,
    folder: PathBuf,
    seed: u64,
}

impl Seeded {
    /// Draws the seed, or takes the one that is asked for, says it, and writes it to `target/chaos/NAME.json`.
    pub fn begin(name: &'static str) -> Result<Self> {
        Self::begin_in(folder()?, name, scale::seed())
    }

    fn begin_in(folder: PathBuf, name: &'static str, seed: u64) -> Result<Self> {
        let begun = Self { name, folder, seed };
        replace(&begun.folder, name, &json!({ "seed": begun.word() }))?;
        say(&format!("RAILHEAD_CHAOS_SEED={seed}"));
        Ok(begun)
    }

    /// What the choices come from.
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// Writes the report in its place, and says the same.
    pub fn end(&self, mut report: Value) -> Result<()> {
        let fields = report.as_object_mut();
        let fields = fields.context("a report is an object")?;
        fields.insert("seed".to_owned(), self.word().into());
        say(&replace(&self.folder, self.name, &report)?);
        Ok(())
    }

    /// As a word: a reader of numbers may know no such large ones.
    fn word(&self) -> String {
        self.seed.to_string()
    }
}

/// Writes `target/chaos/NAME.json`, and says the same.
pub fn write(name: &str, report: &Value) -> Result<()> {
    say(&replace(&folder()?, name, report)?);
    Ok(())
}

fn folder() -> Result<PathBuf> {
    let program = env::current_exe().context("finding this program")?;
    let target = program.ancestors().nth(3).context("no target folder")?;
    Ok(target.join("chaos"))
}

/// Whole or not at all: the test may be killed in the midst. What was written.
fn replace(folder: &Path, name: &str, report: &Value) -> Result<String> {
    let text = serde_json::to_string_pretty(report)?;
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let file = folder.join(format!("{name}.json"));
    let draft = file.with_extension("new");
    fs::write(&draft, &text).with_context(|| format!("writing {}", draft.display()))?;
    fs::rename(&draft, &file).with_context(|| format!("writing {}", file.display()))?;
    Ok(format!("{name}: {text}"))
}

/// A line for whoever looks at the test's output.
#[expect(
    clippy::print_stdout,
    reason = "the report of a test that is asked to show it"
)]
pub fn say(text: &str) {
    println!("{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_is_written_before_anything_else_and_stays_in_the_whole_report() {
        let folder = tempfile::tempdir().unwrap();
        let written = || -> Value {
            let text = fs::read(folder.path().join("kills.json")).unwrap();
            serde_json::from_slice(&text).unwrap()
        };
        let seed = u64::MAX;
        let run = Seeded::begin_in(folder.path().to_owned(), "kills", seed).unwrap();
        assert_eq!(written(), json!({ "seed": "18446744073709551615" }));
        run.end(json!({ "kills": 60 })).unwrap();
        assert_eq!(
            written(),
            json!({ "seed": "18446744073709551615", "kills": 60 })
        );
        Seeded::begin_in(folder.path().to_owned(), "kills", 7).unwrap();
        assert_eq!(written(), json!({ "seed": "7" }), "an older run's is gone");
    }
}
