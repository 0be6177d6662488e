//! The project and service that `up` and `deploy` put something into. A folder's first time needs
//! no other command: what is missing is made after asking.

use api::{
    client::Client,
    project::{CreateProject, Project},
    service::{CreateService, Service, UpdateService},
};
use domain::name::{InvalidName, NAME_MAX, Name};

use crate::{
    confirm,
    context::Context,
    error::{Error, Result},
    link::{self, Chosen, Link},
    spec::{self, RunSettings, SourceSettings},
    target::Target,
};

/// Settings that come with a deployment.
pub struct Settings<'a> {
    /// Where the image comes from.
    pub source: &'a SourceSettings,
    /// How it is run.
    pub run: &'a RunSettings,
}

/// The service that is meant, made when there is none, with the settings.
pub async fn service(
    context: &Context,
    client: &Client,
    settings: &Settings<'_>,
) -> Result<Service> {
    let target = Target::new(context, client);
    if let Some(chosen) = target.linked_service() {
        return with_settings(client, chosen, settings).await;
    }
    if let Some(chosen) = target.service_by_id().await? {
        return with_settings(client, &chosen, settings).await;
    }
    let environment = environment(context, client).await?;
    let names = target.services_of(&environment).await?;
    let name = match target.service_name() {
        Some(name) if names.iter().any(|service| service.name == name) => Some(name),
        Some(name) => return make(context, client, &environment, valid(name)?, settings).await,
        None if names.is_empty() => {
            let name = folder_name(context)?;
            return make(context, client, &environment, name, settings).await;
        }
        None => None,
    };
    let chosen = target.service_of(&environment, name).await?;
    with_settings(client, &chosen, settings).await
}

/// A new project; the answer is how a folder is linked to it.
pub async fn project(context: &Context, client: &Client, name: Name) -> Result<(Project, Link)> {
    let target = Target::afresh(context, client);
    let organization = target.organization().await?;
    let path = format!("/v1/organizations/{}/projects", organization.id);
    let project: Project = client.post(&path, &CreateProject { name }).await?;
    let chosen = Chosen {
        id: project.id.to_string(),
        name: project.name.to_string(),
    };
    let link = Link {
        api: context.address()?.to_string(),
        environment: target.environment_of(&chosen, None).await?,
        project: chosen,
        organization,
        service: None,
    };
    Ok((project, link))
}

/// The folder's name as the name of a project or service.
pub fn folder_name(context: &Context) -> Result<Name> {
    let folder = context
        .folder
        .file_name()
        .unwrap_or_default()
        .to_string_lossy();
    name_from(&folder).ok_or_else(|| {
        Error::usage(
            format!("no name can be made of this folder's name \"{folder}\""),
            "give one: railhead init NAME, railhead up -s NAME",
        )
    })
}

async fn with_settings(
    client: &Client,
    chosen: &Chosen,
    settings: &Settings<'_>,
) -> Result<Service> {
    let path = format!("/v1/services/{}", chosen.id);
    let service = client.get_versioned::<Service>(&path).await?;
    match spec::with_settings(&service.value.spec, settings.source, settings.run)? {
        Some(spec) if spec != service.value.spec => {
            let update = UpdateService { spec };
            Ok(client.patch(&path, &service.etag, &update).await?)
        }
        _ => Ok(service.value),
    }
}

async fn make(
    context: &Context,
    client: &Client,
    environment: &Chosen,
    name: Name,
    settings: &Settings<'_>,
) -> Result<Service> {
    let empty = spec::empty()?;
    let spec = spec::with_settings(&empty, settings.source, settings.run)?.unwrap_or(empty);
    confirm::question(
        context.output,
        &format!(
            "There is no service {name} in {} yet. Make it?",
            environment.name
        ),
    )?;
    let path = format!("/v1/environments/{}/services", environment.id);
    let service: Service = client.post(&path, &CreateService { name, spec }).await?;
    context.output.done(&format!(
        "made service {} in {}",
        service.name, environment.name
    ))?;
    remember(context, &service)?;
    Ok(service)
}

/// A folder that is linked to the service's environment and to no service is linked to it, too.
fn remember(context: &Context, service: &Service) -> Result {
    let Some(found) = link::find(&context.folder)? else {
        return Ok(());
    };
    let mut link = found.link;
    if link.service.is_none() && link.environment.id == service.environment_id.to_string() {
        link.service = Some(Chosen {
            id: service.id.to_string(),
            name: service.name.to_string(),
        });
        link::save(&found.folder, &link)?;
    }
    Ok(())
}

/// The environment that is meant; in an organization without any project, one is made.
async fn environment(context: &Context, client: &Client) -> Result<Chosen> {
    let target = Target::new(context, client);
    let is_named = context.global.project.is_some() || context.global.environment.is_some();
    if is_named || context.usable_link().is_some() {
        return target.environment().await;
    }
    let organization = target.organization().await?;
    if target.has_projects(&organization).await? {
        return target.environment().await;
    }
    let name = folder_name(context)?;
    let question = format!(
        "{} has no project yet. Make {name} and link this folder to it?",
        organization.name
    );
    confirm::question(context.output, &question)?;
    let (project, link) = project(context, client, name).await?;
    link::save(&context.folder, &link)?;
    context.output.done(&format!(
        "made project {}, linked to this folder",
        project.name
    ))?;
    Ok(link.environment)
}

fn valid(name: &str) -> Result<Name> {
    name.parse().map_err(|error: InvalidName| {
        Error::usage(format!("\"{name}\" can't be a service: {error}"), "-s NAME")
    })
}

/// The nearest valid name: "My App_2" becomes "my-app-2".
fn name_from(text: &str) -> Option<Name> {
    let mut name = String::new();
    for character in text.to_lowercase().chars() {
        if character.is_ascii_alphanumeric() {
            name.push(character);
        } else if !name.ends_with('-') {
            name.push('-');
        }
    }
    let name = name.trim_start_matches(|c: char| !c.is_ascii_lowercase());
    let name: String = name.chars().take(NAME_MAX).collect();
    name.trim_end_matches('-').parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_names_become_valid_names() {
        for (folder, name) in [
            ("shop", Some("shop")),
            ("My App_2", Some("my-app-2")),
            ("2048-game", Some("game")),
            ("..", None),
            ("größe", Some("gr-e")),
        ] {
            assert_eq!(
                name_from(folder).as_ref().map(Name::as_str),
                name,
                "{folder}"
            );
        }
        assert_eq!(name_from(&"a".repeat(60)).unwrap().as_str().len(), NAME_MAX);
    }
}
