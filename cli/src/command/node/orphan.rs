//! Instances that run on although a restored database does not know them.

use ::api::{client::Client, orphan::Orphan};
use chrono::Utc;
use domain::id::InstanceId;
use serde_json::json;

use crate::{
    confirm,
    context::Context,
    error::Result,
    output::{Cell, Table, since},
};

pub async fn list(context: &Context, client: &Client) -> Result {
    let orphans: Vec<Orphan> = client.list("/v1/orphans").await?;
    context.output.list(
        &orphans,
        table,
        "nothing runs that the platform does not know",
    )
}

fn table(orphans: &[Orphan]) -> Table {
    Table::of(
        &[
            "INSTANCE",
            "NODE",
            "REGION",
            "SERVICE",
            "SEEN",
            "WHY IT IS NOT TAKEN BACK",
        ],
        orphans,
        |orphan| {
            let service = orphan
                .service
                .as_ref()
                .map_or_else(|| orphan.service_id.to_string(), ToString::to_string);
            let why = match (&orphan.let_go_at, &orphan.reason) {
                (Some(_), _) => "it was let go and ends",
                (None, Some(reason)) => reason.as_str(),
                (None, None) => "it was not looked at yet",
            };
            [
                Cell::dim(orphan.instance_id.to_string()),
                orphan.node.as_str().into(),
                orphan.region.as_str().into(),
                service.into(),
                since(orphan.seen_at, Utc::now()).into(),
                why.into(),
            ]
        },
    )
}

pub async fn let_go(context: &Context, client: &Client, instance: InstanceId) -> Result {
    confirm::question(
        context.output,
        &format!("{instance} ends and is gone. Let it go?"),
    )?;
    client.delete(&format!("/v1/orphans/{instance}")).await?;
    context.output.done(&format!("{instance} is let go"))?;
    context
        .output
        .record_if_json(&json!({ "let_go": instance }))
}
