//! The API beyond its capacity, as it was measured: what was offered, what came of it, and how it was meanwhile to ask
//! for the health.

use std::time::Duration;

use crate::{
    figure::{Figure, count},
    open_loop::Outcome,
};

/// Later than this an answer is of no use to anybody.
const USEFUL: Duration = Duration::from_secs(1);
/// Of the capacity, in percent.
const GOODPUT: f64 = 90.0;
const HEALTH_MILLISECONDS: f64 = 500.0;
/// So much of the load at least must have been offered when it should, in percent.
const OFFERED: f64 = 95.0;
/// How often somebody must have asked for the health.
const HEALTH_ASKED: f64 = 20.0;

/// What was measured.
#[derive(Clone)]
pub struct Flood {
    /// Requests a second that the API can do.
    pub capacity: f64,
    /// Times the capacity, to be offered.
    pub factor: f64,
    /// How long it was to be offered.
    pub lasting: Duration,
    /// Of each request.
    pub outcomes: Vec<Outcome>,
    /// How long each answer about the health took; none where there was no good one.
    pub health: Vec<Option<Duration>>,
}

impl Flood {
    /// As figures, with what is promised of them.
    pub fn figures(&self) -> Vec<Figure> {
        let useful = |outcome: &Outcome| outcome.is_good() && outcome.took <= USEFUL;
        let good = count(self.outcomes.iter().filter(|o| useful(o)).count());
        let goodput = good / self.lasting.as_secs_f64() / self.capacity * 100.0;
        let answered = self.health.iter().flatten();
        let longest = answered.max().copied().unwrap_or_default();
        let unanswered = self.health.iter().filter(|took| took.is_none()).count();
        vec![
            self.figure("offered", self.offered(), "requests/s")
                .needed(self.capacity * self.factor * OFFERED / 100.0),
            self.figure("goodput", goodput, "% of capacity")
                .at_least(GOODPUT),
            self.figure("shed", self.share(|o| o.status == Some(503)), "%"),
            self.figure("unanswered", self.share(|o| o.status.is_none()), "%"),
            self.figure("health_asked", count(self.health.len()), "times")
                .needed(HEALTH_ASKED),
            self.figure("health_unanswered", count(unanswered), "times")
                .at_most(0.0),
            self.figure("longest_health_answer", longest.as_secs_f64() * 1e3, "ms")
                .at_most(HEALTH_MILLISECONDS),
        ]
    }

    fn figure(&self, what: &str, value: f64, unit: &'static str) -> Figure {
        let name = format!("{what}_at_{}_times_the_capacity", self.factor);
        Figure::new(name, value, unit)
    }

    /// Requests a second, up to the last one that began: a load that comes late is a smaller one.
    fn offered(&self) -> f64 {
        let late = self.outcomes.iter().map(|outcome| outcome.late).max();
        let lasted = self.lasting + late.unwrap_or_default();
        count(self.outcomes.len()) / lasted.as_secs_f64()
    }

    /// In percent.
    fn share(&self, of: impl Fn(&Outcome) -> bool) -> f64 {
        let matching = self.outcomes.iter().filter(|outcome| of(outcome)).count();
        count(matching) / count(self.outcomes.len().max(1)) * 100.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::{Verdict, judge};

    const GOOD: Outcome = Outcome {
        took: Duration::from_millis(40),
        late: Duration::ZERO,
        status: Some(200),
    };
    const SHED: Outcome = Outcome {
        status: Some(503),
        ..GOOD
    };

    /// Five times 100 requests a second for ten seconds, of which as many do as can.
    fn sound() -> Flood {
        let outcomes = (0..5_000).map(|n| if n % 5 == 0 { GOOD } else { SHED });
        Flood {
            capacity: 100.0,
            factor: 5.0,
            lasting: Duration::from_secs(10),
            outcomes: outcomes.collect(),
            health: vec![Some(Duration::from_millis(5)); 100],
        }
    }

    /// These of the good ones become so.
    fn with(flood: &mut Flood, so_many: usize, outcome: Outcome) {
        let good = flood.outcomes.iter_mut().filter(|o| o.is_good());
        good.take(so_many).for_each(|one| *one = outcome);
    }

    fn judged(flood: &Flood) -> Verdict {
        judge(&flood.figures())
    }

    fn assert_fails_by(flood: &Flood, figure: &str) {
        match judged(flood) {
            Verdict::Fail(wrong) if wrong.len() == 1 => {
                assert!(wrong[0].starts_with(figure), "{}", wrong[0]);
            }
            verdict => panic!("{figure}: {verdict}"),
        }
    }

    #[test]
    fn what_can_be_done_is_done_and_the_rest_shed() {
        assert_eq!(judged(&sound()), Verdict::Pass);
        let mut flood = sound();
        with(&mut flood, 100, SHED);
        assert_eq!(judged(&flood), Verdict::Pass, "90 % of the capacity");
    }

    #[test]
    fn fewer_useful_answers_fail_it_whatever_becomes_of_the_others() {
        let late = Outcome {
            took: Duration::from_millis(1_001),
            ..GOOD
        };
        let unanswered = Outcome {
            status: None,
            ..GOOD
        };
        for other in [SHED, late, unanswered] {
            let mut flood = sound();
            with(&mut flood, 101, other);
            assert_fails_by(&flood, "goodput_at_5_times_the_capacity");
        }
    }

    #[test]
    fn a_health_answer_that_is_late_or_does_not_come_fails_it() {
        let mut flood = sound();
        flood.health[50] = Some(Duration::from_millis(501));
        assert_fails_by(&flood, "longest_health_answer");
        flood.health[50] = None;
        assert_fails_by(&flood, "health_unanswered");
    }

    #[test]
    fn a_load_that_was_not_offered_in_its_time_proves_nothing() {
        let mut flood = sound();
        let late = Outcome {
            late: Duration::from_millis(600),
            ..SHED
        };
        flood.outcomes[4_999] = late;
        assert!(matches!(judged(&flood), Verdict::Invalid(why) if why.len() == 1));
        let mut flood = sound();
        // All that are shed come last.
        flood.outcomes.sort_by_key(|outcome| !outcome.is_good());
        flood.outcomes.truncate(4_700);
        assert!(matches!(judged(&flood), Verdict::Invalid(_)));
    }

    #[test]
    fn a_health_that_hardly_anybody_asked_for_proves_nothing() {
        let mut flood = sound();
        flood.health.truncate(19);
        assert!(matches!(judged(&flood), Verdict::Invalid(_)));
    }

    #[test]
    fn a_capacity_of_nothing_keeps_no_promise() {
        let flood = Flood {
            capacity: 0.0,
            outcomes: Vec::new(),
            ..sound()
        };
        assert!(!judged(&flood).is_pass());
    }
}
