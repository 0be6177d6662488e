//! `link`: what this folder belongs to, so that no option is needed afterwards.

use crate::{
    context::Context,
    error::Result,
    link::{self, Chosen, Link},
    target::Target,
};

pub async fn run(context: &Context) -> Result {
    let client = context.client()?;
    let target = Target::afresh(context, &client);
    let organization = target.organization().await?;
    let wanted = context.global.project.as_deref();
    let project = target.project_of(&organization, wanted).await?;
    let wanted = context.global.environment.as_deref();
    let environment = target.environment_of(&project, wanted).await?;
    let service = service(context, &target, &environment).await?;
    let link = Link {
        api: context.address()?.to_string(),
        organization,
        project,
        environment,
        service,
    };
    link::save(&context.folder, &link)?;
    context.output.show(&link, || text(&link))
}

/// Without `-s`: the only one, or none when there is more to choose from.
async fn service(
    context: &Context,
    target: &Target<'_>,
    environment: &Chosen,
) -> Result<Option<Chosen>> {
    if let Some(wanted) = context.global.service.as_deref() {
        return target.service_of(environment, Some(wanted)).await.map(Some);
    }
    let mut services = target.services_of(environment).await?;
    Ok(services.pop().filter(|_| services.is_empty()))
}

fn text(link: &Link) -> String {
    let service = match &link.service {
        Some(service) => format!(", service {}", service.name),
        None => String::new(),
    };
    format!(
        "linked to project {} of {}, environment {}{service}",
        link.project.name, link.organization.name, link.environment.name
    )
}
