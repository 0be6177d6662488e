//! `service`: what shall run. A change of settings takes effect with the next deployment.

use ::api::service::Service;
use clap::Subcommand;
use domain::name::Name;
use serde_json::json;

use super::{find, status};
use crate::{
    confirm,
    context::Context,
    error::{Error, Result},
    link,
    spec::{self, RunSettings, SourceSettings},
    target::Target,
};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the environment's services
    List,
    /// Make a service; nothing runs before its first deployment
    Add {
        /// Unique in the environment
        name: Name,
        #[command(flatten)]
        source: Box<SourceSettings>,
        #[command(flatten)]
        run: Box<RunSettings>,
    },
    /// Show a service's settings
    Show,
    /// Change a service's settings
    Set {
        #[command(flatten)]
        source: Box<SourceSettings>,
        #[command(flatten)]
        run: Box<RunSettings>,
    },
    /// Delete a service with everything that belongs to it
    Delete {
        /// Name or id
        service: String,
    },
}

pub async fn run(context: &Context, command: Command) -> Result {
    match command {
        Command::List => list(context).await,
        Command::Add { name, source, run } => add(context, name, &source, &run).await,
        Command::Show => show(context).await,
        Command::Set { source, run } => set(context, &source, &run).await,
        Command::Delete { service } => delete(context, &service).await,
    }
}

async fn list(context: &Context) -> Result {
    let client = context.client()?;
    let environment = Target::new(context, &client).environment().await?;
    let path = format!("/v1/environments/{}/services", environment.id);
    let services: Vec<Service> = client.list(&path).await?;
    let empty = format!(
        "{} has no services yet: railhead up, or railhead service add NAME",
        environment.name
    );
    context.output.list(&services, status::overview, &empty)
}

async fn add(context: &Context, name: Name, source: &SourceSettings, run: &RunSettings) -> Result {
    let client = context.client()?;
    let environment = Target::new(context, &client).environment().await?;
    let empty = spec::empty()?;
    let spec = spec::with_settings(&empty, source, run)?.unwrap_or(empty);
    let path = format!("/v1/environments/{}/services", environment.id);
    let made = spec::create(context.output, name, spec);
    let service: Service = client.post(&path, &made).await?;
    context.output.done(&format!(
        "made service {} in {}",
        service.name, environment.name
    ))?;
    context.output.show(&service, || service.id.to_string())?;
    context
        .output
        .note(&format!("next: railhead deploy -s {}", service.name))
}

async fn show(context: &Context) -> Result {
    let client = context.client()?;
    let chosen = Target::new(context, &client).service().await?;
    let service: Service = client.get(&format!("/v1/services/{}", chosen.id)).await?;
    let text = toml::to_string(&service.spec)
        .map_err(|error| Error::file("write", "standard output", &error))?;
    context
        .output
        .show(&service.spec, || text.trim_end().to_owned())
}

async fn set(context: &Context, source: &SourceSettings, run: &RunSettings) -> Result {
    let client = context.client()?;
    let chosen = Target::new(context, &client).service().await?;
    let path = format!("/v1/services/{}", chosen.id);
    let service = client.get_versioned::<Service>(&path).await?;
    let Some(spec) = spec::with_settings(&service.value.spec, source, run)? else {
        return Err(Error::usage(
            "no setting was given",
            "railhead service set --port 3000, or --set deploy.readiness.path=/health",
        ));
    };
    let updated: Service = client
        .patch(&path, &service.etag, &spec::update(context.output, spec))
        .await?;
    context.output.done(&format!("changed {}", updated.name))?;
    context
        .output
        .note("it takes effect with the next deployment: railhead redeploy")?;
    context.output.record_if_json(&updated)
}

async fn delete(context: &Context, wanted: &str) -> Result {
    let client = context.client()?;
    let target = Target::new(context, &client);
    let service = target.service_named(wanted).await?;
    confirm::destruction(
        context.output,
        "delete the service",
        &service.name,
        "its instances, hostnames, variables, images and logs go with it",
    )?;
    client
        .delete(&format!("/v1/services/{}", service.id))
        .await?;
    forget(context, &service.id)?;
    context
        .output
        .done(&format!("deleted service {}", service.name))?;
    context
        .output
        .note("what runs of it ends now; railhead status says how far that is")?;
    context
        .output
        .record_if_json(&json!({ "deleted": service.id }))
}

/// The folder stays linked to the environment.
fn forget(context: &Context, service_id: &str) -> Result {
    let Some(found) = &context.link else {
        return Ok(());
    };
    if found
        .link
        .service
        .as_ref()
        .is_some_and(|linked| linked.id == service_id)
    {
        let mut link = found.link.clone();
        link.service = None;
        link::save(&found.folder, &link)?;
    }
    Ok(())
}

impl find::Resource for Service {
    fn id(&self) -> String {
        self.id.to_string()
    }

    fn name(&self) -> String {
        self.name.to_string()
    }
}
