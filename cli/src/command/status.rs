//! `status`: what is seen, and how long ago it was seen. Never what was only planned.

mod text;

use ::api::{Page, deployment::Deployment, instance::Instance, service::Service};
use serde::Serialize;

use super::deletion;
use crate::{context::Context, error::Result, link::Chosen, target::Target};

pub use self::text::{deployment_state, failed_requests, overview, regions, short, short_id};

/// All that is shown about one service.
#[derive(Debug, Serialize)]
pub struct Status {
    service: Service,
    /// The newest deployment, whatever became of it.
    deployment: Option<Deployment>,
    instances: Vec<Instance>,
}

pub async fn run(context: &Context) -> Result {
    let client = context.client()?;
    let target = Target::new(context, &client);
    show(context, &client, &target).await?;
    deletion::mention_all(context, &client, &target).await
}

async fn show(context: &Context, client: &::api::client::Client, target: &Target<'_>) -> Result {
    if target.service_name().is_some() {
        return one(context, client, target.service().await?).await;
    }
    let environment = target.environment().await?;
    let path = format!("/v1/environments/{}/services", environment.id);
    let services: Vec<Service> = client.list(&path).await?;
    if let [only] = services.as_slice() {
        let chosen = Chosen {
            id: only.id.to_string(),
            name: only.name.to_string(),
        };
        return one(context, client, chosen).await;
    }
    let empty = format!("{} has no services yet: railhead up", environment.name);
    context.output.list(&services, overview, &empty)
}

async fn one(context: &Context, client: &::api::client::Client, chosen: Chosen) -> Result {
    let path = format!("/v1/services/{}", chosen.id);
    let newest = format!("{path}/deployments?limit=1");
    let instances = format!("{path}/instances");
    let (service, deployments, instances) = tokio::try_join!(
        client.get::<Service>(&path),
        client.get::<Page<Deployment>>(&newest),
        client.list::<Instance>(&instances),
    )?;
    let status = Status {
        service,
        deployment: deployments.items.into_iter().next(),
        instances,
    };
    context.output.show(&status, || {
        text::detail(context.output, &status, chrono::Utc::now())
    })
}
