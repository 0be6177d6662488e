//! Edge rules of a specification: whether edges could read them, and whether somebody means what they do.

use api::problem::{Code, FieldError};
use domain::spec::{EdgeRule, EdgeSpec};

use super::{Error, service};

/// Refuses rules that no edge can read, and those that block ordinary requests for these hosts one and all, unless it was
/// said that this is meant.
pub(super) async fn check(edge: &EdgeSpec, hosts: &[String], is_meant: bool) -> Result<(), Error> {
    if edge.is_empty() {
        return Ok(());
    }
    let (rules, hosts) = (edge.rules.clone(), hosts.to_vec());
    let judged = tokio::task::spawn_blocking(move || blocks_everything(&rules, &hosts)).await;
    let judged = judged.map_err(|error| Error::Internal(format!("reading edge rules: {error}")))?;
    if judged? && !is_meant {
        return Err(Error::refused(
            Code::BlocksEverything,
            "these edge rules block every ordinary request, whoever sends it; if that is meant, send confirm_block_all = true (railhead --yes)",
        ));
    }
    Ok(())
}

fn blocks_everything(rules: &[EdgeRule], hosts: &[String]) -> Result<bool, Error> {
    match rules::compile(rules) {
        Ok(compiled) => Ok(rules::would_block_everything(&compiled, hosts)),
        Err(faults) => Err(service::cannot_be(
            faults.into_iter().map(as_field_error).collect(),
        )),
    }
}

fn as_field_error(fault: rules::Fault) -> FieldError {
    FieldError {
        field: format!("spec.{}", fault.field),
        reason: fault.reason,
    }
}
