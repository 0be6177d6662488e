//! Which organization, project, environment and service a command means. An option wins; else the
//! folder's link; else the only one there is. What is unclear is never guessed: the error names
//! the choices.

mod choose;

use api::client::Client;
use serde::Deserialize;

use self::choose::{Question, ask, choose, is_id, is_open};

use crate::{
    context::Context,
    error::Result,
    link::{Chosen, Link},
};

/// Resolves names with one client.
pub struct Target<'a> {
    context: &'a Context,
    client: &'a Client,
    link: Option<&'a Link>,
}

/// What all resources have.
#[derive(Deserialize)]
struct Named {
    id: String,
    name: String,
}

impl<'a> Target<'a> {
    /// For one command.
    pub fn new(context: &'a Context, client: &'a Client) -> Self {
        Self {
            context,
            client,
            link: context.usable_link(),
        }
    }

    /// Without regard to what the folder is linked to.
    pub const fn afresh(context: &'a Context, client: &'a Client) -> Self {
        Self {
            context,
            client,
            link: None,
        }
    }

    /// The organization.
    pub async fn organization(&self) -> Result<Chosen> {
        if let Some(link) = self.linked_organization() {
            return Ok(link.organization.clone());
        }
        let question = Question {
            kind: "organization",
            option: "-o",
            prefix: "org_",
            place: self.context.address()?.to_string(),
            wanted: self.context.global.organization.as_deref(),
            fallback: None,
        };
        self.pick(question, "/v1/organizations", "organizations")
            .await
    }

    /// The project.
    pub async fn project(&self) -> Result<Chosen> {
        if let Some(link) = self.linked_project() {
            return Ok(link.project.clone());
        }
        let wanted = self.context.global.project.as_deref();
        if let Some(chosen) = self.by_id("projects", "prj_", wanted).await? {
            return Ok(chosen);
        }
        let organization = self.organization().await?;
        self.project_of(&organization, wanted).await
    }

    /// A project by name or id, whatever the link says.
    pub async fn project_named(&self, wanted: &str) -> Result<Chosen> {
        if let Some(chosen) = self.by_id("projects", "prj_", Some(wanted)).await? {
            return Ok(chosen);
        }
        let organization = self.organization().await?;
        self.project_of(&organization, Some(wanted)).await
    }

    /// A project of an organization.
    pub async fn project_of(&self, organization: &Chosen, wanted: Option<&str>) -> Result<Chosen> {
        let question = Question {
            kind: "project",
            option: "-p",
            prefix: "prj_",
            place: organization.name.clone(),
            wanted,
            fallback: None,
        };
        let path = format!("/v1/organizations/{}/projects", organization.id);
        self.pick(question, &path, "projects").await
    }

    /// The environment; `production` when none is named.
    pub async fn environment(&self) -> Result<Chosen> {
        if let Some(link) = self.linked_environment() {
            return Ok(link.environment.clone());
        }
        let wanted = self.context.global.environment.as_deref();
        if let Some(chosen) = self.by_id("environments", "env_", wanted).await? {
            return Ok(chosen);
        }
        let project = self.project().await?;
        self.environment_of(&project, wanted).await
    }

    /// An environment of a project.
    pub async fn environment_of(&self, project: &Chosen, wanted: Option<&str>) -> Result<Chosen> {
        let question = Question {
            kind: "environment",
            option: "-e",
            prefix: "env_",
            place: project.name.clone(),
            wanted,
            fallback: Some("production"),
        };
        let path = format!("/v1/projects/{}/environments", project.id);
        self.pick(question, &path, "environments").await
    }

    /// The service.
    pub async fn service(&self) -> Result<Chosen> {
        let wanted = self.context.global.service.as_deref();
        if let Some(service) = self.linked_service() {
            return Ok(service.clone());
        }
        if let Some(chosen) = self.service_by_id().await? {
            return Ok(chosen);
        }
        let environment = self.environment().await?;
        self.service_of(&environment, wanted.or(self.linked_service_name()))
            .await
    }

    /// The service whose id was given, in whatever environment it is.
    pub async fn service_by_id(&self) -> Result<Option<Chosen>> {
        let wanted = self.context.global.service.as_deref();
        self.by_id("services", "svc_", wanted).await
    }

    /// A service by name or id, whatever the link says.
    pub async fn service_named(&self, wanted: &str) -> Result<Chosen> {
        if let Some(chosen) = self.by_id("services", "svc_", Some(wanted)).await? {
            return Ok(chosen);
        }
        let environment = self.environment().await?;
        self.service_of(&environment, Some(wanted)).await
    }

    /// A service of an environment.
    pub async fn service_of(&self, environment: &Chosen, wanted: Option<&str>) -> Result<Chosen> {
        let question = Question {
            kind: "service",
            option: "-s",
            prefix: "svc_",
            place: format!("the environment {}", environment.name),
            wanted,
            fallback: None,
        };
        let path = format!("/v1/environments/{}/services", environment.id);
        self.pick(question, &path, "services").await
    }

    /// Whether the organization has projects, so that one could be meant.
    pub async fn has_projects(&self, organization: &Chosen) -> Result<bool> {
        let path = format!("/v1/organizations/{}/projects", organization.id);
        let projects: Vec<Named> = self.client.list(&path).await?;
        Ok(!projects.is_empty())
    }

    /// All services of an environment.
    pub async fn services_of(&self, environment: &Chosen) -> Result<Vec<Chosen>> {
        let path = format!("/v1/environments/{}/services", environment.id);
        let services: Vec<Named> = self.client.list(&path).await?;
        Ok(services.into_iter().map(Chosen::from).collect())
    }

    /// The service's name that was asked for, by option or link.
    pub fn service_name(&self) -> Option<&str> {
        self.context
            .global
            .service
            .as_deref()
            .or(self.linked_service_name())
    }

    async fn by_id(
        &self,
        collection: &str,
        prefix: &str,
        wanted: Option<&str>,
    ) -> Result<Option<Chosen>> {
        let Some(id) = wanted.filter(|wanted| is_id(wanted, prefix)) else {
            return Ok(None);
        };
        let named: Named = self.client.get(&format!("/v1/{collection}/{id}")).await?;
        Ok(Some(named.into()))
    }

    async fn pick(&self, question: Question<'_>, path: &str, collection: &str) -> Result<Chosen> {
        if let Some(chosen) = self
            .by_id(collection, question.prefix, question.wanted)
            .await?
        {
            return Ok(chosen);
        }
        let all: Vec<Named> = self.client.list(path).await?;
        let all: Vec<Chosen> = all.into_iter().map(Chosen::from).collect();
        if is_open(&question, &all) && self.context.output.can_ask {
            return ask(&question, all);
        }
        choose(&question, all)
    }

    fn linked_organization(&self) -> Option<&Link> {
        let wanted = self.context.global.organization.as_deref();
        self.link
            .filter(|link| link.organization.answers_to(wanted))
    }

    fn linked_project(&self) -> Option<&Link> {
        let wanted = self.context.global.project.as_deref();
        self.linked_organization()
            .filter(|link| link.project.answers_to(wanted))
    }

    fn linked_environment(&self) -> Option<&Link> {
        let wanted = self.context.global.environment.as_deref();
        self.linked_project()
            .filter(|link| link.environment.answers_to(wanted))
    }

    /// The service that the folder is linked to, unless an option means another.
    pub fn linked_service(&self) -> Option<&Chosen> {
        let wanted = self.context.global.service.as_deref();
        self.linked_environment()?
            .service
            .as_ref()
            .filter(|service| service.answers_to(wanted))
    }

    /// With `-e staging`, the linked service's namesake there is meant.
    fn linked_service_name(&self) -> Option<&str> {
        let service = self.linked_project()?.service.as_ref()?;
        Some(&service.name)
    }
}

impl From<Named> for Chosen {
    fn from(named: Named) -> Self {
        Self {
            id: named.id,
            name: named.name,
        }
    }
}
