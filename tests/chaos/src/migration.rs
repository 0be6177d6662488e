//! What users of the API are asked and answered while the schema is brought up to date, and whether that is as promised.

use std::{collections::BTreeMap, time::Instant};

use testkit::verdict::Verdict;

/// A request, without a second try.
#[derive(Debug, Clone)]
pub struct Asked {
    /// When it began and was answered.
    pub during: (Instant, Instant),
    /// Why it failed.
    pub problem: Option<String>,
}

/// Of a whole run.
#[derive(Debug, Clone)]
pub struct History {
    /// When the schema was brought up to date.
    pub migration: (Instant, Instant),
    /// In any order.
    pub asked: Vec<Asked>,
    /// The last value of each variable that was acknowledged.
    pub acknowledged: BTreeMap<String, String>,
    /// What today's program shows of them.
    pub shown: BTreeMap<String, String>,
}

impl History {
    /// Requests that began, ended or waited while the schema was brought up to date.
    #[must_use]
    pub fn met(&self) -> usize {
        let (began, ended) = self.migration;
        let met = |one: &&Asked| one.during.0 < ended && one.during.1 > began;
        self.asked.iter().filter(met).count()
    }

    /// No request fails, nothing acknowledged is lost, and at least so many requests met the migration.
    #[must_use]
    pub fn judge(&self, met_at_least: usize) -> Verdict<String> {
        let failed = self.asked.iter().filter_map(|one| one.problem.as_ref());
        let failed = failed.map(|problem| format!("a request failed: {problem}"));
        let lost = self.acknowledged.iter().filter_map(|(name, value)| {
            let shown = self.shown.get(name);
            (shown != Some(value))
                .then(|| format!("{name} was acknowledged as {value:?} and is shown as {shown:?}"))
        });
        let met = self.met();
        let too_few = (met < met_at_least)
            .then(|| format!("{met} requests met the migration, {met_at_least} are wanted"));
        Verdict::of(failed.chain(lost).collect(), too_few.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn history() -> History {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let asked = |from, to| Asked {
            during: (at(from), at(to)),
            problem: None,
        };
        let values = BTreeMap::from([("USER_0".to_owned(), "7".to_owned())]);
        History {
            migration: (at(10), at(20)),
            asked: vec![asked(0, 5), asked(9, 11), asked(12, 13), asked(19, 30)],
            acknowledged: values.clone(),
            shown: values,
        }
    }

    #[test]
    fn what_fails_or_is_lost_is_found_and_too_little_proves_nothing() {
        assert!(history().judge(3).is_pass());
        assert!(matches!(history().judge(4), Verdict::Invalid(_)));

        let mut failed = history();
        failed.asked[0].problem = Some("503".to_owned());
        assert!(matches!(failed.judge(4), Verdict::Fail(_)));

        for shown in [None, Some("6")] {
            let mut lost = history();
            lost.shown = shown
                .map(|old| ("USER_0".to_owned(), old.to_owned()))
                .into_iter()
                .collect();
            assert!(matches!(lost.judge(3), Verdict::Fail(_)), "{shown:?}");
        }
    }
}
