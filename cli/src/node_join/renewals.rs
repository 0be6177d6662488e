//! Which units have to come to use something else, and how.

use std::collections::BTreeMap;

use super::{
    error::{Error, Result},
    former::Former,
    unit::{Renewal, is_active},
};

/// By unit: of several ways the greatest, and what there was before.
#[derive(Debug, Default)]
pub struct Renewals(BTreeMap<&'static str, (Renewal, Vec<Former>)>);

impl Renewals {
    /// Something of this unit has changed.
    pub fn note(&mut self, unit: &'static str, renewal: Renewal, former: Option<Former>) {
        let (known, before) = self.0.entry(unit).or_insert((renewal, Vec::new()));
        *known = renewal.max(*known);
        before.extend(former);
    }

    /// Whether a running unit has something to come to use.
    pub fn has(&self, unit: &str) -> bool {
        self.0.contains_key(unit) && is_active(unit)
    }

    /// Brings it to that; says what was done. A unit that does not run only has to be started.
    pub fn apply(&mut self, unit: &'static str) -> Result<Option<String>> {
        let Some((renewal, before)) = self.0.remove(unit) else {
            return Ok(None);
        };
        let done = match is_active(unit) {
            true => renewal.apply(unit).map(Some),
            false => Ok(None),
        };
        let settle = match &done {
            Ok(_) => Former::forget,
            Err(Error::NotHandedOver { .. }) => Former::put_back,
            // It is tried again by the next call.
            Err(_) => return done,
        };
        before.into_iter().try_for_each(settle)?;
        done
    }
}
