//! What may run twice and what never may, judged by when copies ran: while a node is cut off, once it is
//! declared dead, and when it comes back.

use chrono::{DateTime, Utc};

use super::{Verdict, Violation};
use crate::runs::Run;

/// A node that was lost, and what ran there and elsewhere meanwhile.
#[derive(Debug, Clone)]
pub struct Loss {
    /// Which.
    pub node: String,
    /// When an operator declared it dead: from then on, by his word, nothing runs there.
    pub fenced: DateTime<Utc>,
    /// When it was seen to be let in again.
    pub lifted: DateTime<Utc>,
    /// A service of it that may run twice for a while.
    pub rolling: String,
    /// A service of it that never may.
    pub alone: String,
    /// Of all engines, of all services.
    pub runs: Vec<Run>,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum Wrong {
    #[error("{} may never run twice: {} ran on {} beside {} on {}", .0.service, .0.instance, .0.node, .1.instance, .1.node)]
    RanTwice(Box<Run>, Box<Run>),
    #[error("{} began on {}, which was fenced", .0.instance, .0.node)]
    BegunBehindTheFence(Box<Run>),
    #[error("{} still ran on {} when that was let in again", .0.instance, .0.node)]
    OutlivedTheFence(Box<Run>),
    #[error("{} on {} ended, and had no part in it", .0.instance, .0.node)]
    Disturbed(Box<Run>),
}

/// Judges it.
pub fn judge(loss: &Loss) -> Verdict {
    let wrong = [
        ran_twice(loss),
        loss.each(Loss::has_begun_behind_the_fence, Wrong::BegunBehindTheFence),
        loss.each(Loss::has_outlived_the_fence, Wrong::OutlivedTheFence),
        loss.each(Loss::is_disturbed, Wrong::Disturbed),
    ]
    .concat();
    let wrong = wrong.into_iter().map(Violation::Loss).collect();
    Verdict::of(wrong, too_little(loss))
}

fn ran_twice(loss: &Loss) -> Vec<Wrong> {
    let alone: Vec<&Run> = loss.of(&loss.alone).collect();
    let mut wrong = Vec::new();
    for (n, first) in alone.iter().enumerate() {
        for second in alone.iter().skip(n + 1) {
            if loss.were_beside(first, second) {
                let (first, second) = ((*first).clone(), (*second).clone());
                wrong.push(Wrong::RanTwice(Box::new(first), Box::new(second)));
            }
        }
    }
    wrong
}

/// What must have been there to be judged.
fn too_little(loss: &Loss) -> Vec<String> {
    let before = |run: &&Run| run.began < loss.fenced;
    let (rolling, alone) = (loss.rolling.as_str(), loss.alone.as_str());
    let elsewhere = |service| loss.of(service).filter(move |run| !loss.is_there(run));
    let there = |service| loss.of(service).filter(move |run| loss.is_there(run));
    let twice = there(rolling).any(|old| {
        let mut new = elsewhere(rolling).filter(before);
        new.any(|new| new.began > old.began && loss.were_beside(old, new))
    });
    let checks = [
        (twice, "nothing ran twice while the node was cut off"),
        (
            there(alone).any(|run| before(&run)),
            "nothing ran on the node that never may run twice",
        ),
        (
            elsewhere(alone).any(|run| !before(&run)),
            "nothing of it was replaced after the fence",
        ),
    ];
    let unmet = checks.into_iter().filter(|(met, _)| !met);
    unmet.map(|(_, why)| why.to_owned()).collect()
}

impl Loss {
    fn of<'a>(&'a self, service: &'a str) -> impl Iterator<Item = &'a Run> {
        self.runs.iter().filter(move |run| run.service == service)
    }

    fn each(&self, is_wrong: fn(&Self, &Run) -> bool, wrong: fn(Box<Run>) -> Wrong) -> Vec<Wrong> {
        let all = self.runs.iter().filter(|run| is_wrong(self, run));
        all.map(|run| wrong(Box::new(run.clone()))).collect()
    }

    fn is_there(&self, run: &Run) -> bool {
        run.node == self.node
    }

    /// On the lost node nothing counts any more from the fence on.
    fn counted_until(&self, run: &Run) -> Option<DateTime<Utc>> {
        match run.ended {
            None if self.is_there(run) => Some(self.fenced),
            Some(ended) if self.is_there(run) => Some(ended.min(self.fenced)),
            ended => ended,
        }
    }

    fn were_beside(&self, one: &Run, other: &Run) -> bool {
        let ended_before =
            |run: &Run, began| self.counted_until(run).is_some_and(|ended| ended <= began);
        !ended_before(one, other.began) && !ended_before(other, one.began)
    }

    fn has_begun_behind_the_fence(&self, run: &Run) -> bool {
        self.is_there(run) && run.began > self.fenced && run.began < self.lifted
    }

    fn has_outlived_the_fence(&self, run: &Run) -> bool {
        self.is_there(run) && run.ended.is_none_or(|ended| ended > self.lifted)
    }

    fn is_disturbed(&self, run: &Run) -> bool {
        !self.is_there(run) && run.ended.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap()
    }

    fn run(service: &str, node: &str, began: i64, ended: Option<i64>) -> Run {
        Run {
            service: service.to_owned(),
            instance: format!("{service} since {began}"),
            node: node.to_owned(),
            began: at(began),
            ended: ended.map(at),
        }
    }

    /// Cut off at 10, lost at 20, fenced at 30, back at 40.
    fn sound() -> Loss {
        Loss {
            node: "lost".to_owned(),
            fenced: at(30),
            lifted: at(42),
            rolling: "rolling".to_owned(),
            alone: "alone".to_owned(),
            runs: vec![
                run("rolling", "lost", 0, Some(41)),
                run("rolling", "other", 0, None),
                run("rolling", "other", 21, None),
                run("alone", "lost", 0, Some(41)),
                run("alone", "other", 31, None),
                run("bystander", "other", 0, None),
            ],
        }
    }

    fn wrong(spoil: impl FnOnce(&mut Vec<Run>)) -> Vec<Wrong> {
        let mut loss = sound();
        spoil(&mut loss.runs);
        match judge(&loss) {
            Verdict::Fail(violations) => violations.into_iter().map(inner).collect(),
            other => panic!("{other}"),
        }
    }

    fn inner(violation: Violation) -> Wrong {
        match violation {
            Violation::Loss(wrong) => wrong,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn what_may_run_twice_may_and_what_never_may_waits_for_the_fence() {
        assert_eq!(judge(&sound()), Verdict::Pass);
        let too_soon = wrong(|runs| runs[4].began = at(29));
        assert!(
            matches!(too_soon[..], [Wrong::RanTwice(..)]),
            "{too_soon:?}"
        );
        let twice = wrong(|runs| runs.push(run("alone", "third", 32, None)));
        assert!(matches!(twice[..], [Wrong::RanTwice(..)]), "{twice:?}");
        let in_turn = wrong(|runs| {
            runs[4].ended = Some(at(33));
            runs.push(run("alone", "third", 34, None));
        });
        assert!(matches!(in_turn[..], [Wrong::Disturbed(_)]), "{in_turn:?}");
    }

    #[test]
    fn what_comes_back_ends_and_nothing_else_does() {
        let outlived = wrong(|runs| runs[3].ended = Some(at(43)));
        assert!(
            matches!(outlived[..], [Wrong::OutlivedTheFence(_)]),
            "{outlived:?}"
        );
        let begun = wrong(|runs| runs.push(run("rolling", "lost", 35, Some(36))));
        assert!(
            matches!(begun[..], [Wrong::BegunBehindTheFence(_)]),
            "{begun:?}"
        );
        let disturbed = wrong(|runs| runs[5].ended = Some(at(25)));
        assert!(
            matches!(disturbed[..], [Wrong::Disturbed(_)]),
            "{disturbed:?}"
        );
    }

    #[test]
    fn a_run_without_what_is_judged_is_invalid() {
        for lacking in [2, 3, 4] {
            let mut loss = sound();
            loss.runs.remove(lacking);
            assert!(matches!(judge(&loss), Verdict::Invalid(_)), "{lacking}");
        }
    }
}
