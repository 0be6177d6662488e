//! A deployment that went live while the control planes that carried it came and went: each of its steps was done
//! once and told once, it made one release, and one instance for each replica.

use std::collections::BTreeMap;

use domain::{deployment::machine::Step, id::DeploymentId};

use super::{Verdict, Violation, writes};

/// What is left of it.
#[derive(Debug, Clone)]
pub struct Carried {
    /// Which.
    pub id: DeploymentId,
    /// Whether its image had to be built.
    pub builds: bool,
    /// The steps that it went.
    pub steps: Vec<Step>,
    /// The steps that events told of.
    pub told: Vec<Step>,
    /// How many releases it made.
    pub releases: usize,
    /// By region, how many instances were made for it.
    pub placed: BTreeMap<String, u32>,
    /// By region, how many replicas its service has.
    pub wanted: BTreeMap<String, u32>,
}

/// Judges it.
pub fn judge(carried: &Carried) -> Verdict {
    let steps = writes::steps(carried.id, &carried.steps, &carried.told);
    let wrong: Vec<_> = steps
        .or_else(|| lost_steps(carried))
        .into_iter()
        .chain(releases(carried))
        .chain(instances(carried))
        .collect();
    Verdict::of(wrong, Vec::new())
}

fn lost_steps(carried: &Carried) -> Option<Violation> {
    let goes = |step: &Step| *step <= Step::Live && (carried.builds || *step != Step::Building);
    let steps = Step::ALL.into_iter().filter(goes);
    (!steps.eq(carried.steps.iter().copied())).then(|| Violation::StepLost {
        id: carried.id,
        steps: carried.steps.clone(),
    })
}

fn releases(carried: &Carried) -> Option<Violation> {
    (carried.releases != 1).then_some(Violation::ReleasedOtherwise {
        id: carried.id,
        found: carried.releases,
    })
}

fn instances(carried: &Carried) -> Option<Violation> {
    (carried.placed != carried.wanted).then(|| Violation::PlacedOtherwise {
        id: carried.id,
        found: carried.placed.clone(),
        wanted: carried.wanted.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sound(builds: bool) -> Carried {
        let steps = Step::ALL.into_iter().filter(|step| *step <= Step::Live);
        let steps: Vec<_> = steps
            .filter(|step| builds || *step != Step::Building)
            .collect();
        let one_each: BTreeMap<_, _> =
            [("us-east".to_owned(), 1), ("eu-west".to_owned(), 1)].into();
        Carried {
            id: DeploymentId::new(),
            builds,
            told: steps.iter().skip(1).copied().collect(),
            steps,
            releases: 1,
            placed: one_each.clone(),
            wanted: one_each,
        }
    }

    /// What is wrong once something was done to a sound one.
    fn spoilt(spoil: impl FnOnce(&mut Carried)) -> Violation {
        let mut carried = sound(true);
        assert_eq!(judge(&carried), Verdict::Pass);
        spoil(&mut carried);
        match judge(&carried) {
            Verdict::Fail(mut wrong) if wrong.len() == 1 => wrong.remove(0),
            other => panic!("{other}"),
        }
    }

    /// As rows and as events have it.
    fn both(carried: &mut Carried, change: impl Fn(&mut Vec<Step>)) {
        change(&mut carried.steps);
        change(&mut carried.told);
    }

    fn insert(steps: &mut Vec<Step>, after: Step, step: Step) {
        let at = steps.iter().position(|one| *one == after).unwrap();
        steps.insert(at + 1, step);
    }

    #[test]
    fn what_was_done_once_passes_built_or_not() {
        assert_eq!(judge(&sound(true)), Verdict::Pass);
        assert_eq!(judge(&sound(false)), Verdict::Pass);
    }

    #[test]
    fn a_step_that_both_replicas_did_is_seen() {
        let again = |steps: &mut Vec<Step>| insert(steps, Step::Placing, Step::Placing);
        let doubled = spoilt(|carried| both(carried, again));
        assert!(matches!(doubled, Violation::StepRepeated { .. }));
        let told_by_both = spoilt(|carried| again(&mut carried.told));
        assert!(matches!(told_by_both, Violation::StepToldOtherwise { .. }));
    }

    #[test]
    fn what_a_stale_replica_does_after_the_others_went_on_is_seen() {
        let late = |steps: &mut Vec<Step>| insert(steps, Step::Verifying, Step::Releasing);
        let back = spoilt(|carried| both(carried, late));
        assert!(matches!(back, Violation::StepRepeated { .. }));
        let told_only = spoilt(|carried| late(&mut carried.told));
        assert!(matches!(told_only, Violation::StepToldOtherwise { .. }));
        let released = spoilt(|carried| carried.releases = 2);
        assert!(matches!(
            released,
            Violation::ReleasedOtherwise { found: 2, .. }
        ));
        let placed = spoilt(|carried| *carried.placed.get_mut("us-east").unwrap() = 2);
        assert!(matches!(placed, Violation::PlacedOtherwise { .. }));
    }

    #[test]
    fn what_nobody_did_is_missed() {
        for lost in [Step::Building, Step::Verifying] {
            let skipped = |steps: &mut Vec<Step>| steps.retain(|step| *step != lost);
            let lost = spoilt(|carried| both(carried, skipped));
            assert!(matches!(lost, Violation::StepLost { .. }));
        }
        let untold = spoilt(|carried| carried.told.retain(|step| *step != Step::Draining));
        assert!(matches!(untold, Violation::StepToldOtherwise { .. }));
        let unreleased = spoilt(|carried| carried.releases = 0);
        assert!(matches!(
            unreleased,
            Violation::ReleasedOtherwise { found: 0, .. }
        ));
        let unplaced = spoilt(|carried| carried.placed.retain(|region, _| region != "eu-west"));
        assert!(matches!(unplaced, Violation::PlacedOtherwise { .. }));
    }

    #[test]
    fn one_that_did_not_go_live_was_not_carried_to_its_end() {
        let failed = spoilt(|carried| {
            both(carried, |steps| {
                steps.truncate(steps.len() - 2);
                steps.push(Step::Failed);
            });
        });
        assert!(matches!(failed, Violation::StepLost { .. }));
    }
}
