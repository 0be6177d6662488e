//! `scale`: how many instances where. It waits until as many are seen.

use ::api::service::{ScaleService, Service};
use clap::Args;

use super::status;
use crate::{
    context::Context,
    error::Result,
    follow,
    spec::{self, Replicas},
    target::Target,
};

#[derive(Debug, Args)]
pub struct Arguments {
    /// Such as eu-west=2 us-east=1; regions that are left out keep theirs, 0 removes
    #[arg(required = true, value_name = "REGION=N")]
    regions: Vec<Replicas>,
    /// Do not wait until it is so
    #[arg(short, long)]
    detach: bool,
}

pub async fn run(context: &Context, arguments: Arguments) -> Result {
    let client = context.client()?;
    let chosen = Target::new(context, &client).service().await?;
    let body = ScaleService {
        regions: spec::regions(&arguments.regions),
    };
    let path = format!("/v1/services/{}/scale", chosen.id);
    let mut service: Service = client.put(&path, &body).await?;
    if service.active && !arguments.detach {
        service = follow::settle(context, &client, service).await?;
    }
    if service.active || context.output.json {
        let table = || status::regions(&service, chrono::Utc::now());
        return context
            .output
            .show(&service, || context.output.render(table()));
    }
    context
        .output
        .note("kept for the next deployment; nothing runs now: railhead deploy or railhead up")
}
