//! `./dev test --long`: the full counts, round after round. What has passed is remembered by commit, so
//! that a run may be cut off at any moment and gone on with later.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::{
    full::{self, FULL, count},
    platform::TestPlatforms,
    record::{self, Counted, Counts, Record, Tested},
    round::{self, Round},
};
use crate::output::say;

/// So many rounds of one kind may fail before a run leaves that kind to the next one.
const FAILURES_MAX: usize = 3;

/// Goes on until the full counts are met, the time is over, or what lacks fails again and again; with the kinds in
/// `only`, or with all when that is empty.
pub fn run(limit: Option<Duration>, only: &[Round]) -> Result<()> {
    let began = Instant::now();
    let mut long = Long::of(record::commit()?, only);
    round::build()?;
    let outcome = long.rounds(|| limit.is_none_or(|limit| began.elapsed() < limit));
    let tested = Record::read()?.of(&long.commit);
    table(&tested);
    let ended = long.platform.map_or(Ok(()), TestPlatforms::end);
    outcome.and(ended)?;
    full::ensure_few_failed(&tested.passed)?;
    ensure!(
        long.failed.is_empty(),
        "rounds have failed: {:?}; what each of them was is in the record",
        long.failed
    );
    Ok(())
}

/// A run.
struct Long<'a> {
    /// All counts are of this one.
    commit: String,
    /// Kinds that it keeps to, if any.
    only: &'a [Round],
    /// Comes with the first round that needs one, and goes with one that has failed.
    platform: Option<TestPlatforms>,
    failed: Vec<Round>,
}

impl<'a> Long<'a> {
    const fn of(commit: String, only: &'a [Round]) -> Self {
        Self {
            commit,
            only,
            platform: None,
            failed: Vec::new(),
        }
    }

    fn rounds(&mut self, goes_on: impl Fn() -> bool) -> Result<()> {
        while goes_on() {
            self.ensure_same_commit()?;
            let passed = Record::read()?.of(&self.commit).passed;
            let Some(round) = Round::next(&passed, |round| self.may_run(round)) else {
                break;
            };
            if round.needs_platform() && self.platform.is_none() {
                self.platform = Some(TestPlatforms::start(&[2])?);
            }
            let began = Instant::now();
            let outcome = round.run(&passed, self.platform.as_ref());
            say!("{round:?}, {} s: {outcome:?}", began.elapsed().as_secs());
            self.note(round, &passed, &outcome)?;
        }
        Ok(())
    }

    fn may_run(&self, round: Round) -> bool {
        let is_meant = self.only.is_empty() || self.only.contains(&round);
        is_meant && failed_seldom(&self.failed, round)
    }

    /// Writes down what became of a round.
    fn note(&mut self, round: Round, passed: &Counts, outcome: &Result<Counts>) -> Result<()> {
        // What somebody has edited meanwhile was tested as well.
        self.ensure_same_commit()?;
        // Another one may have been added to meanwhile.
        let mut record = Record::read()?;
        match outcome {
            Ok(done) => record.add(&self.commit, done),
            Err(_) => record.add_failure(&self.commit, round.replay(passed)),
        }
        record.write()?;
        match outcome {
            Ok(_) => Ok(()),
            Err(_) => self.give_up(round),
        }
    }

    /// The next round does not begin with what this one has left.
    fn give_up(&mut self, round: Round) -> Result<()> {
        self.failed.push(round);
        let platform = self.platform.take_if(|_| round.needs_platform());
        platform.map_or(Ok(()), TestPlatforms::put_aside)
    }

    fn ensure_same_commit(&self) -> Result<()> {
        let now = record::commit()?;
        ensure!(
            now == self.commit,
            "this run adds up for {}, and the checkout is at {now} by now; call it again for that",
            self.commit
        );
        Ok(())
    }
}

/// A simulated round that has failed fails again.
fn failed_seldom(failed: &[Round], round: Round) -> bool {
    let failures = failed.iter().filter(|one| **one == round).count();
    let allowed = match round.is_simulated() {
        true => 1,
        false => FAILURES_MAX,
    };
    failures < allowed
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

#[cfg(test)]
mod tests {
    use super::*;

    fn may_run(only: &[Round], failed: &[Round], round: Round) -> bool {
        let mut long = Long::of(String::new(), only);
        long.failed = failed.to_vec();
        long.may_run(round)
    }

    #[test]
    fn a_round_of_chance_is_tried_again_and_one_that_fails_again_is_not() {
        let failed = [Round::Seeds, Round::Kills, Round::Kills];
        assert!(!may_run(&[], &failed, Round::Seeds));
        assert!(may_run(&[], &failed, Round::Kills) && may_run(&[], &failed, Round::Days));
        let failed = [Round::Kills; FAILURES_MAX];
        assert!(!may_run(&[], &failed, Round::Kills));
        assert!(may_run(
            &[],
            &[Round::PoisonedProcesses],
            Round::PoisonedProcesses
        ));
        let next = Round::next(&Counts::new(), |round| {
            may_run(&[], &[Round::Poison], round)
        });
        assert_eq!(next, Some(Round::Days));
    }

    #[test]
    fn a_run_of_some_kinds_keeps_to_them() {
        let only = [Round::Seeds, Round::Days];
        assert!(may_run(&only, &[], Round::Days) && !may_run(&only, &[], Round::Kills));
        assert!(!may_run(&only, &[Round::Days], Round::Days));
    }
}
