//! `/v1/nodes`.

use http::StatusCode;
use utoipa_axum::{router::OpenApiRouter, routes};

use api::{
    node::{FenceNode, Node, NodeQuery, OverrideNode, UpdateNode},
    page::{Page, PageQuery},
};
use domain::id::NodeId;

use crate::{
    State,
    app::{self, Context},
    store::page::Paging,
};

use super::{
    answer::{Result, Tagged},
    extract::{IfMatch, Json, Path, Query},
    parameters,
};

/// Its routes.
pub fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(get, update, delete))
        .routes(routes!(fence))
        .routes(routes!(override_brake))
}

/// All nodes, or those of one region.
#[utoipa::path(
    get,
    path = "/v1/nodes",
    operation_id = "node.list",
    tag = "node",
    params(NodeQuery),
    responses((status = 200, description = "A page.", body = Page<Node>)),
)]
async fn list(context: Context, Query(query): Query<NodeQuery>) -> Result<Json<Page<Node>>> {
    let paging = Paging::parse(&PageQuery {
        cursor: query.cursor.clone(),
        limit: query.limit,
    })?;
    Ok(Json(app::node::list(&context, &query, paging).await?))
}

/// One node.
#[utoipa::path(
    get,
    path = "/v1/nodes/{node_id}",
    operation_id = "node.get",
    tag = "node",
    params(("node_id" = NodeId, Path)),
    responses((status = 200, description = "It.", body = Node)),
)]
async fn get(context: Context, Path(id): Path<NodeId>) -> Result<Tagged<Node>> {
    Ok(Tagged(app::node::get(&context, id).await?))
}

/// Cordons a node, or empties it.
#[utoipa::path(
    patch,
    path = "/v1/nodes/{node_id}",
    operation_id = "node.update",
    tag = "node",
    params(("node_id" = NodeId, Path), parameters::IfMatch),
    request_body = UpdateNode,
    responses((status = 200, description = "It was changed.", body = Node)),
)]
async fn update(
    context: Context,
    Path(id): Path<NodeId>,
    IfMatch(expected): IfMatch,
    Json(request): Json<UpdateNode>,
) -> Result<Tagged<Node>> {
    Ok(Tagged(
        app::node::update(&context, id, expected, request).await?,
    ))
}

/// Expels a node: its certificate is refused from now on.
#[utoipa::path(
    delete,
    path = "/v1/nodes/{node_id}",
    operation_id = "node.delete",
    tag = "node",
    params(("node_id" = NodeId, Path)),
    responses((status = 204, description = "It is gone.")),
)]
async fn delete(context: Context, Path(id): Path<NodeId>) -> Result<StatusCode> {
    app::node::delete(&context, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Declares a silent node dead: what it ran is placed elsewhere at once.
#[utoipa::path(
    post,
    path = "/v1/nodes/{node_id}/fence",
    operation_id = "node.fence",
    tag = "node",
    params(("node_id" = NodeId, Path)),
    request_body = FenceNode,
    responses((status = 200, description = "It is fenced.", body = Node)),
)]
async fn fence(
    context: Context,
    Path(id): Path<NodeId>,
    Json(request): Json<FenceNode>,
) -> Result<Tagged<Node>> {
    Ok(Tagged(app::node::fence(&context, id, request).await?))
}

/// Lets go the drops that a node's brake holds.
#[utoipa::path(
    post,
    path = "/v1/nodes/{node_id}/override",
    operation_id = "node.override",
    tag = "node",
    params(("node_id" = NodeId, Path)),
    request_body = OverrideNode,
    responses((status = 200, description = "The node learns it with its next report.", body = Node)),
)]
async fn override_brake(
    context: Context,
    Path(id): Path<NodeId>,
    Json(request): Json<OverrideNode>,
) -> Result<Tagged<Node>> {
    Ok(Tagged(
        app::node::override_brake(&context, id, request).await?,
    ))
}
