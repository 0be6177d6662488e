//! `/v1/regions`.

use utoipa_axum::{router::OpenApiRouter, routes};

use api::{
    page::{Page, PageQuery},
    region::{CreateRegion, Region, UpdateRegion},
};
use domain::id::RegionId;

use crate::{
    State,
    app::{self, Context},
    store::page::Paging,
};

use super::{
    answer::{CreatedTagged, Result, Tagged},
    extract::{Create, IfMatch, Json, Path},
    parameters,
};

/// Its routes.
pub fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(update))
}

/// All regions.
#[utoipa::path(
    get,
    path = "/v1/regions",
    operation_id = "region.list",
    tag = "region",
    params(PageQuery),
    responses((status = 200, description = "A page.", body = Page<Region>)),
)]
async fn list(context: Context, paging: Paging) -> Result<Json<Page<Region>>> {
    Ok(Json(app::region::list(&context, paging).await?))
}

/// Makes a region.
#[utoipa::path(
    post,
    path = "/v1/regions",
    operation_id = "region.create",
    tag = "region",
    params(parameters::IdempotencyKey),
    request_body = CreateRegion,
    responses((status = 201, description = "It was made.", body = Region)),
)]
async fn create(Create(context, request): Create<CreateRegion>) -> Result<CreatedTagged<Region>> {
    Ok(CreatedTagged(app::region::create(&context, request).await?))
}

/// Enables or disables a region for new instances.
#[utoipa::path(
    patch,
    path = "/v1/regions/{region_id}",
    operation_id = "region.update",
    tag = "region",
    params(("region_id" = RegionId, Path), parameters::IfMatch),
    request_body = UpdateRegion,
    responses((status = 200, description = "It was changed.", body = Region)),
)]
async fn update(
    context: Context,
    Path(id): Path<RegionId>,
    IfMatch(expected): IfMatch,
    Json(request): Json<UpdateRegion>,
) -> Result<Tagged<Region>> {
    Ok(Tagged(
        app::region::update(&context, id, expected, request).await?,
    ))
}
