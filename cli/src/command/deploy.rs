//! `deploy`: from the service's git repository or image. Options that name another repository,
//! image or setting are kept for the next time.

use ::api::deployment::DeploymentSource;
use clap::Args;
use domain::spec::{Source, is_git_ref};

use super::redeploy;
use crate::{
    context::Context,
    error::{Error, Result},
    provide::{self, Settings},
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
    let settings = Settings {
        source: &arguments.source,
        run: &arguments.run,
    };
    let service = provide::service(context, &client, &settings).await?;
    let source = match &service.spec.source {
        Some(Source::Git(_)) => DeploymentSource::Git {
            reference: arguments.reference,
        },
        Some(Source::Image(_)) if arguments.reference.is_some() => {
            return Err(Error::usage(
                format!(
                    "{} is deployed from an image, which has no refs",
                    service.name
                ),
                "railhead deploy --image IMAGE, or --repo URL --ref REF",
            ));
        }
        Some(Source::Image(_)) => DeploymentSource::Image { image: None },
        None => {
            return Err(Error::usage(
                format!(
                    "{} has neither repository nor image to deploy from",
                    service.name
                ),
                "railhead deploy --repo URL, railhead deploy --image IMAGE, or send this folder: railhead up",
            ));
        }
    };
    let id = service.id.to_string();
    redeploy::begin(context, &client, &id, Some(source), arguments.detach).await
}

fn reference(text: &str) -> std::result::Result<String, String> {
    if is_git_ref(text) {
        Ok(text.to_owned())
    } else {
        Err("not a name that git allows for a branch, tag or commit".to_owned())
    }
}
