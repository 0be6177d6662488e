//! `./dev test --long`: the full counts, round after round. What has passed is remembered by commit, so
//! that a run may be cut off at any moment and gone on with later.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{
    full::{self, FULL, count},
    platform::TestPlatforms,
    record::{self, Counted, Record, Tested},
    round::{self, Round},
};
use crate::output::say;

/// Goes on until the full counts are met or the time is over.
pub fn run(limit: Option<Duration>) -> Result<()> {
    let began = Instant::now();
    let commit = record::commit()?;
    round::build()?;
    let goes_on = || limit.is_none_or(|limit| began.elapsed() < limit);
    let mut platform = None;
    let outcome = rounds(&commit, &mut platform, goes_on);
    let tested = Record::read()?.of(&commit);
    table(&tested);
    let ended = platform.map_or(Ok(()), TestPlatforms::end);
    outcome.and(ended)?;
    full::ensure_few_failed(&tested.passed)
}

/// A platform comes with the first round that needs one.
fn rounds(
    commit: &str,
    platform: &mut Option<TestPlatforms>,
    goes_on: impl Fn() -> bool,
) -> Result<()> {
    while goes_on() {
        let passed = Record::read()?.of(commit).passed;
        let Some(round) = Round::next(&passed) else {
            break;
        };
        if round.needs_platform() && platform.is_none() {
            *platform = Some(TestPlatforms::start(&[2])?);
        }
        let began = Instant::now();
        let outcome = round.run(&passed, platform.as_ref());
        // Another one may have been added to meanwhile.
        let mut record = Record::read()?;
        match &outcome {
            Ok(done) => record.add(commit, done),
            Err(_) => record.add_failure(commit, round.replay(&passed)),
        }
        record.write()?;
        say!("{round:?}, {} s: {:?}", began.elapsed().as_secs(), outcome?);
    }
    Ok(())
}

fn table(tested: &Tested) {
    say!("\n{}", tested.commit);
    for (what, full) in FULL {
        let passed = count(&tested.passed, what);
        let met = if passed >= full { "met" } else { "" };
        say!(
            "{:<19} {passed:>9} of {full:>7}  {met}",
            format!("{what:?}")
        );
    }
    say!(
        "of the deployments under kills {} failed for the platform's own reasons",
        count(&tested.passed, Counted::PlatformFailures)
    );
    for failure in &tested.failed {
        say!("failed at {}: {}", failure.at, failure.round);
    }
}
