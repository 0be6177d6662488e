//! Regions: where things can run.

use api::{
    page::Page,
    problem::Code,
    region::{CreateRegion, Region, UpdateRegion},
};
use domain::id::RegionId;

use crate::{
    store::{self, page::Paging},
    waker::Topic,
};

use super::{
    Action, Context, Error, OnConstraint as _, authorize_platform,
    idempotency::{self, Begun},
    version::{Expected, mismatch},
};

/// All regions.
///
/// # Errors
/// When the database can't be reached.
pub async fn list(context: &Context, paging: Paging) -> Result<Page<Region>, Error> {
    let grant = authorize_platform(context, Action::RegionList)?;
    let mut tx = grant.read(context).await?;
    Ok(store::region::list(&mut tx, paging).await?)
}

/// Makes a region.
///
/// # Errors
/// When not allowed, or the name is taken.
pub async fn create(context: &Context, request: CreateRegion) -> Result<Region, Error> {
    let grant = authorize_platform(context, Action::RegionCreate)?;
    let mut tx = match idempotency::begin(context, grant.mutate(context).await?).await? {
        Begun::Fresh(tx) => tx,
        Begun::Repeated(answer) => return Ok(answer),
    };
    let region = store::region::insert(&mut tx, RegionId::new(), &request.name)
        .await
        .on_constraint("region_name_key", || {
            Error::refused(
                Code::NameTaken,
                format!("there is a region called {} already", request.name),
            )
        })?;
    let entry = context.did(grant.action, region.id);
    tx.commit(entry, region).await
}

/// Enables or disables a region for new instances.
///
/// # Errors
/// When not allowed, there is no such region, or the version is another one.
pub async fn update(
    context: &Context,
    id: RegionId,
    expected: Expected,
    request: UpdateRegion,
) -> Result<Region, Error> {
    let grant = authorize_platform(context, Action::RegionUpdate)?;
    let mut tx = grant.mutate(context).await?;
    if !store::region::exists(&mut tx, id).await? {
        return Err(Error::not_found("region", id));
    }
    let region = store::region::update(&mut tx, id, expected.version(), request.enabled)
        .await?
        .ok_or_else(|| mismatch("region"))?;
    let entry = context.did(grant.action, id);
    context.commit(tx, entry, &[Topic::Evaluations]).await?;
    Ok(region)
}
