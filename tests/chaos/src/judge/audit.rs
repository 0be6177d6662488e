//! The audit log tells of all that was acknowledged: of what was made or deleted exactly once, also when the client
//! had to send its request again; of a write, which it may repeat, once at least.

use std::collections::BTreeMap;

use domain::id::ServiceId;

use super::Violation;
use crate::{
    history::{History, Write},
    world::{Done, World},
};

pub(super) fn wrong(history: &History, world: &World) -> Vec<Violation> {
    let once = world.made.iter().cloned().chain(deletions(history));
    let once = once.filter_map(|done| otherwise(world, done, 1, |told| told != 1));
    let often = writes(history, world).into_iter();
    let often = often.filter_map(|(done, count)| otherwise(world, done, count, |n| n < count));
    once.chain(often).collect()
}

fn otherwise(
    world: &World,
    done: Done,
    acknowledged: usize,
    is_wrong: impl Fn(usize) -> bool,
) -> Option<Violation> {
    let told = world.audited.get(&done).copied().unwrap_or_default();
    let (action, resource) = done;
    is_wrong(told).then_some(Violation::AuditedOtherwise {
        action,
        resource,
        told,
        acknowledged,
    })
}

fn deletions(history: &History) -> impl Iterator<Item = Done> {
    let deleted = acknowledged(&history.deletions);
    deleted.map(|project| ("project.delete".to_owned(), project.to_string()))
}

/// What was written to, and how often that was acknowledged.
fn writes(history: &History, world: &World) -> Vec<(Done, usize)> {
    let set = ("shared_variable.set".to_owned(), world.environment.clone());
    let set = (set, acknowledged(&history.variables).count());
    let mut scales: BTreeMap<ServiceId, usize> = BTreeMap::new();
    for (service, ..) in acknowledged(&history.scales) {
        *scales.entry(*service).or_default() += 1;
    }
    let scaled = |service: ServiceId| ("service.scale".to_owned(), service.to_string());
    let scales = scales.into_iter();
    let scales = scales.map(|(service, count)| (scaled(service), count));
    scales.chain([set]).collect()
}

fn acknowledged<W>(writes: &[Write<W>]) -> impl Iterator<Item = &W> {
    writes
        .iter()
        .filter_map(|(write, answer)| answer.acknowledged().map(|()| write))
}

#[cfg(test)]
mod tests {
    use domain::id::ProjectId;

    use super::{
        super::tests::{sound, spoilt, told_once},
        *,
    };
    use crate::history::Answer;

    fn assert_otherwise(violations: &[Violation], expected: [usize; 2]) {
        let [
            Violation::AuditedOtherwise {
                told, acknowledged, ..
            },
        ] = violations
        else {
            panic!("{violations:?}");
        };
        assert_eq!([*told, *acknowledged], expected);
    }

    #[test]
    fn what_was_made_is_told_of_exactly_once() {
        for told in [0, 2] {
            let wrong = spoilt(|_, world| {
                let deployment = world.deployments[0].id.to_string();
                let mut told_of = world.audited.iter_mut();
                let found = told_of.find(|((_, resource), _)| *resource == deployment);
                *found.unwrap().1 = told;
            });
            assert_otherwise(&wrong, [told, 1]);
        }
        let silent = spoilt(|_, world| {
            let made = ("project.create".to_owned(), ProjectId::new().to_string());
            world.made.insert(made);
        });
        assert_otherwise(&silent, [0, 1]);
    }

    #[test]
    fn a_deletion_is_told_of_exactly_once() {
        for told in [0, 2] {
            let wrong = spoilt(|history, world| {
                let project = ProjectId::new();
                history.deletions.push((project, Answer::Acknowledged(())));
                let done = ("project.delete".to_owned(), project.to_string());
                world.audited.insert(done, told);
            });
            assert_otherwise(&wrong, [told, 1]);
        }
    }

    #[test]
    fn an_acknowledged_write_is_told_of_and_may_be_sent_again() {
        for (told, is_right) in [(1, false), (2, true), (3, true)] {
            let (mut history, mut world) = sound();
            let service = world.deployments[0].service;
            let write = ((service, "us-east", 1), Answer::Acknowledged(()));
            history.scales = vec![write.clone(), write];
            let scaled = ("service.scale".to_owned(), service.to_string());
            world.audited.insert(scaled, told);
            assert_eq!(wrong(&history, &world).is_empty(), is_right, "{told}");
        }
        let silent = spoilt(|history, world| {
            told_once(world, "shared_variable.set", "env_1");
            world.variables = [("NAME".to_owned(), "1".to_owned())].into();
            let write = (
                ("NAME".to_owned(), "1".to_owned()),
                Answer::Acknowledged(()),
            );
            history.variables = vec![write.clone(), write];
        });
        assert_otherwise(&silent, [1, 2]);
    }
}
