//! Whether all that was acknowledged, and that the database has not lost, is as it was asked for.

use std::collections::BTreeMap;

use domain::{
    deployment::machine::Step,
    id::{DeploymentId, ServiceId},
    name::Name,
};

use crate::{invariant::Invariant, tenant::Intent, world::World};

/// What was asked for last, of each service that is not deleted.
#[derive(Debug, Default)]
struct Last<'a> {
    deployments: BTreeMap<ServiceId, DeploymentId>,
    scales: BTreeMap<ServiceId, &'a BTreeMap<Name, u32>>,
    /// Whether it shall run.
    active: BTreeMap<ServiceId, bool>,
}

impl World {
    /// Nothing of it is missing.
    pub(super) fn check_intents(&mut self) {
        let last = self.last_intents();
        let lost = self
            .lost_ending()
            .or_else(|| self.lost_deployment(&last.deployments))
            .or_else(|| self.lost_scale(&last.scales))
            .or_else(|| self.lost_rest(&last.active));
        if let Some(what) = lost {
            self.checker.broken(Invariant::Intent, what);
        }
    }

    fn last_intents(&self) -> Last<'_> {
        let mut last = Last::default();
        for intent in self.intents.kept() {
            match intent {
                Intent::Deploy(service, id) => {
                    last.deployments.insert(*service, *id);
                    if self.step_of(*id) == Some(Step::Live) {
                        last.active.insert(*service, true);
                    } else if last.active.get(service) == Some(&false) {
                        // It has brought the service back, or had ended before it could.
                        last.active.remove(service);
                    }
                }
                Intent::Scale(service, regions) => {
                    last.scales.insert(*service, regions);
                }
                Intent::Down(service) => {
                    last.active.insert(*service, false);
                }
                Intent::Delete(_) => {}
            }
        }
        last
    }

    /// A deployment that has not ended, or a service that was deleted and is there.
    fn lost_ending(&self) -> Option<String> {
        let lost = |intent: &Intent| match intent {
            Intent::Deploy(_, id) => {
                let step = self.step_of(*id);
                let is_over = step.is_some_and(Step::is_final);
                (!is_over).then(|| format!("{id} was acknowledged and is {step:?}"))
            }
            Intent::Delete(service) => {
                let row = self.tables.services.get(service);
                let is_there = row.is_some_and(|row| !row.deleted);
                is_there.then(|| format!("the deletion of {service} is forgotten"))
            }
            Intent::Scale(..) | Intent::Down(_) => None,
        };
        self.intents.kept().find_map(lost)
    }

    fn lost_deployment(&self, newest: &BTreeMap<ServiceId, DeploymentId>) -> Option<String> {
        newest.iter().find_map(|(service, id)| {
            let (step, row) = (self.step_of(*id), self.tables.services.get(service));
            if step == Some(Step::Superseded) {
                return Some(format!(
                    "{id} is the newest of {service} and was superseded"
                ));
            }
            let is_other = row.is_some_and(|row| row.current != Some(*id));
            (step == Some(Step::Live) && is_other)
                .then(|| format!("{id} is live and not current of {service}"))
        })
    }

    fn lost_scale(&self, scales: &BTreeMap<ServiceId, &BTreeMap<Name, u32>>) -> Option<String> {
        let is_lost = |(service, regions): &(&ServiceId, &&BTreeMap<Name, u32>)| {
            let row = self.tables.services.get(service);
            row.is_some_and(|row| row.spec.scale.regions != ***regions)
        };
        let (service, _) = scales.iter().find(is_lost)?;
        Some(format!("the scale of {service} is forgotten"))
    }

    /// Whether services run is what was said last: a version, or that nothing shall run for now.
    fn lost_rest(&self, active: &BTreeMap<ServiceId, bool>) -> Option<String> {
        active.iter().find_map(|(service, shall)| {
            let row = self.tables.services.get(service);
            let row = row.filter(|row| !row.deleted && row.active != *shall)?;
            let (is, id) = (row.active, row.id);
            Some(format!("{id} is active: {is}, and was to be: {shall}"))
        })
    }
}
