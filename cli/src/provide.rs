//! The project and service that `up` and `deploy` put something into. A folder's first time needs
//! no other command: what is missing is made after asking.

use api::{
    client::Client,
    project::{CreateProject, Project},
    service::Service,
};
use domain::{
    name::{InvalidName, NAME_MAX, Name},
    spec::ServiceSpec,
};

use crate::{
    confirm,
    context::Context,
    error::{Error, Result},
    link::{self, Chosen, Link},
    spec::{self, RunSettings, SourceSettings},
    target::Target,
};

/// What comes with a deployment.
pub struct Provider<'a> {
    /// Options and folder.
    pub context: &'a Context,
    /// Signed in.
    pub client: &'a Client,
    /// Where the image comes from.
    pub source: &'a SourceSettings,
    /// How it is run.
    pub run: &'a RunSettings,
    /// Refuses what can't be deployed, before anything is made or changed.
    pub check: &'a dyn Fn(&ServiceSpec) -> Result,
}

impl Provider<'_> {
    /// The service that is meant, made when there is none, with the settings.
    pub async fn service(&self) -> Result<Service> {
        let target = Target::new(self.context, self.client);
        if let Some(chosen) = target.linked_service() {
            return self.with_settings(chosen).await;
        }
        if let Some(chosen) = target.service_by_id().await? {
            return self.with_settings(&chosen).await;
        }
        let environment = self.environment().await?;
        let all = target.services_of(&environment).await?;
        let name = match target.service_name() {
            Some(name) if all.iter().any(|service| service.name == name) => Some(name),
            Some(name) => return self.make(&environment, valid(name)?).await,
            None if all.is_empty() => {
                return self.make(&environment, folder_name(self.context)?).await;
            }
            None => None,
        };
        let chosen = target.service_of(&environment, name).await?;
        if name.is_none() {
            self.consent(&chosen, &environment)?;
        }
        self.with_settings(&chosen).await
    }

    /// Nobody named the service that is about to be replaced. In a folder that is not linked, not
    /// even `--yes` means it.
    fn consent(&self, service: &Chosen, environment: &Chosen) -> Result {
        let (name, place) = (&service.name, &environment.name);
        let output = self.context.output;
        if self.context.usable_link().is_none() && !output.can_ask {
            return Err(Error::usage(
                format!(
                    "this folder is not linked, and no service was named (there is {name} in {place})"
                ),
                format!(
                    "a project of its own for this folder: railhead init; an existing one: railhead link; \
                     to replace {name}: -s {name}"
                ),
            ));
        }
        confirm::question(output, &format!("Deploy to {name} in {place}?"))
    }

    async fn with_settings(&self, chosen: &Chosen) -> Result<Service> {
        let path = format!("/v1/services/{}", chosen.id);
        let service = self.client.get_versioned::<Service>(&path).await?;
        let old = &service.value.spec;
        let spec = spec::with_settings(old, self.source, self.run)?;
        (self.check)(spec.as_ref().unwrap_or(old))?;
        match spec {
            Some(spec) if spec != *old => {
                let update = spec::update(self.context.output, spec);
                Ok(self.client.patch(&path, &service.etag, &update).await?)
            }
            _ => Ok(service.value),
        }
    }

    async fn make(&self, environment: &Chosen, name: Name) -> Result<Service> {
        let spec = self.fresh_spec()?;
        let output = self.context.output;
        let question = format!(
            "There is no service {name} in {} yet. Make it?",
            environment.name
        );
        confirm::question(output, &question)?;
        let path = format!("/v1/environments/{}/services", environment.id);
        let service: Service = self
            .client
            .post(&path, &spec::create(output, name, spec))
            .await?;
        output.done(&format!(
            "made service {} in {}",
            service.name, environment.name
        ))?;
        remember(self.context, &service)?;
        Ok(service)
    }

    fn fresh_spec(&self) -> Result<ServiceSpec> {
        let empty = spec::empty()?;
        let spec = spec::with_settings(&empty, self.source, self.run)?.unwrap_or(empty);
        (self.check)(&spec)?;
        Ok(spec)
    }

    /// The environment that is meant; in an organization without any project, one is made.
    async fn environment(&self) -> Result<Chosen> {
        let (context, client) = (self.context, self.client);
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
        self.fresh_spec()?;
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
