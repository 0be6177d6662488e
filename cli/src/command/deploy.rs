//! `deploy`: from the service's git repository or image. Options that name another repository,
//! image or setting are kept for the next time.

use ::api::deployment::DeploymentSource;
use clap::Args;
use domain::spec::{ServiceSpec, Source, is_git_ref};

use super::redeploy;
use crate::{
    context::Context,
    error::{Error, Result},
    provide::Provider,
    spec::{RunSettings, SourceSettings},
};

#[derive(Debug, Args)]
pub struct Arguments {
    /// Branch, tag or commit to deploy this time
    #[arg(long = "ref", value_name = "REF", value_parser = reference, conflicts_with = "image")]
    reference: Option<String>,
    #[command(flatten)]
    source: SourceSettings,
    #[command(flatten)]
    run: RunSettings,
    /// Do not wait until it is live
    #[arg(short, long)]
    detach: bool,
}

pub async fn run(context: &Context, arguments: Arguments) -> Result {
    let client = context.client()?;
    let reference = arguments.reference;
    let provider = Provider {
        context,
        client: &client,
        source: &arguments.source,
        run: &arguments.run,
        check: &|spec| source(spec, reference.as_deref()).map(drop),
    };
    let service = provider.service().await?;
    let source = source(&service.spec, reference.as_deref())?;
    let id = service.id.to_string();
    redeploy::begin(context, &client, &id, Some(source), arguments.detach).await
}

/// What to deploy of what the service is configured for.
fn source(spec: &ServiceSpec, reference: Option<&str>) -> Result<DeploymentSource> {
    match &spec.source {
        Some(Source::Git(_)) => Ok(DeploymentSource::Git {
            reference: reference.map(str::to_owned),
        }),
        Some(Source::Image(_)) if reference.is_some() => Err(Error::usage(
            "the service is deployed from an image, which has no refs",
            "railhead deploy --image IMAGE, or --repo URL --ref REF",
        )),
        Some(Source::Image(_)) => Ok(DeploymentSource::Image { image: None }),
        None => Err(Error::usage(
            "the service has neither repository nor image to deploy from",
            "railhead deploy --repo URL, railhead deploy --image IMAGE, or send this folder: railhead up",
        )),
    }
}

fn reference(text: &str) -> std::result::Result<String, String> {
    if is_git_ref(text) {
        Ok(text.to_owned())
    } else {
        Err("not a name that git allows for a branch, tag or commit".to_owned())
    }
}
