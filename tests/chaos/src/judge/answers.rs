//! Whoever asks for a tenant's name is answered by that tenant, or not at all.

use std::collections::BTreeMap;

use super::{Verdict, Violation};

/// What became of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answered {
    /// By this deployment, as it says of itself.
    By(String),
    /// By nobody, for this reason.
    Failed(String),
}

/// Judges the answers to requests for `host`, which is `own`'s, and which was to answer so often at least.
pub fn judge(host: &str, own: &str, answers: &[Answered], at_least: usize) -> Verdict {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for answer in answers {
        if let Answered::By(deployment) = answer {
            *counts.entry(deployment).or_default() += 1;
        }
    }
    let answered = counts.remove(own).unwrap_or_default();
    let foreign = counts
        .into_iter()
        .map(|(from, count)| Violation::ForeignAnswer {
            host: host.to_owned(),
            from: from.to_owned(),
            count,
        });
    let too_few =
        (answered < at_least).then(|| format!("{answered} answers for {host}, wanted {at_least}"));
    Verdict::of(foreign.collect(), too_few.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_foreign_answer_among_many_fails_and_too_few_of_its_own_prove_nothing() {
        let own = Answered::By("dep_a".to_owned());
        let refused = Answered::Failed("503".to_owned());
        let mut answers = vec![own; 5];
        answers.push(refused);
        assert_eq!(judge("a", "dep_a", &answers, 5), Verdict::Pass);
        assert!(matches!(
            judge("a", "dep_a", &answers, 6),
            Verdict::Invalid(_)
        ));
        answers.push(Answered::By("dep_b".to_owned()));
        let foreign = Violation::ForeignAnswer {
            host: "a".to_owned(),
            from: "dep_b".to_owned(),
            count: 1,
        };
        assert_eq!(
            judge("a", "dep_a", &answers, 6),
            Verdict::Fail(vec![foreign])
        );
    }
}
