//! What a run did, in numbers, beside those of the benchmarks.

use std::{env, fs};

use anyhow::{Context as _, Result};
use serde_json::Value;

/// Writes `target/chaos/NAME.json`, and says the same.
pub fn write(name: &str, report: &Value) -> Result<()> {
    let text = serde_json::to_string_pretty(report)?;
    let program = env::current_exe().context("finding this program")?;
    let target = program.ancestors().nth(3).context("no target folder")?;
    let folder = target.join("chaos");
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let file = folder.join(format!("{name}.json"));
    fs::write(&file, &text).with_context(|| format!("writing {}", file.display()))?;
    say(&format!("{name}: {text}"));
    Ok(())
}

/// A line for whoever looks at the test's output.
#[expect(
    clippy::print_stdout,
    reason = "the report of a test that is asked to show it"
)]
pub fn say(text: &str) {
    println!("{text}");
}
