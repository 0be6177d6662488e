//! Which organization, project, environment and service a command means. An option wins; else the
//! folder's link; else the only one there is. What is unclear is never guessed: the error names
//! the choices.

use api::client::Client;
use serde::Deserialize;

use crate::{
    confirm::unanswered,
    context::Context,
    error::{Error, Result},
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

struct Question<'a> {
    kind: &'static str,
    option: &'static str,
    prefix: &'static str,
    place: String,
    wanted: Option<&'a str>,
    fallback: Option<&'static str>,
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

impl Chosen {
    fn answers_to(&self, wanted: Option<&str>) -> bool {
        wanted.is_none_or(|wanted| wanted == self.name || wanted == self.id)
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

fn is_id(text: &str, prefix: &str) -> bool {
    text.strip_prefix(prefix)
        .is_some_and(|hex| hex.len() == 32 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn choose(question: &Question<'_>, all: Vec<Chosen>) -> Result<Chosen> {
    let wanted = question.wanted;
    let known: Vec<String> = all.iter().map(|chosen| chosen.name.clone()).collect();
    let found = match (wanted, question.fallback) {
        (Some(_), _) => all.into_iter().find(|chosen| chosen.answers_to(wanted)),
        (None, _) if all.len() == 1 => all.into_iter().next(),
        (None, fallback) => all
            .into_iter()
            .find(|chosen| fallback == Some(chosen.name.as_str())),
    };
    found.ok_or_else(|| unclear(question, known))
}

/// Nothing was named and there is more than one.
fn is_open(question: &Question<'_>, all: &[Chosen]) -> bool {
    let by_fallback = |chosen: &Chosen| question.fallback == Some(chosen.name.as_str());
    question.wanted.is_none() && all.len() > 1 && !all.iter().any(by_fallback)
}

fn ask(question: &Question<'_>, all: Vec<Chosen>) -> Result<Chosen> {
    let names: Vec<&str> = all.iter().map(|chosen| chosen.name.as_str()).collect();
    let index = dialoguer::Select::new()
        .with_prompt(format!("Which {} of {}?", question.kind, question.place))
        .items(&names)
        .default(0)
        .interact()
        .map_err(|error| unanswered(&error))?;
    all.into_iter()
        .nth(index)
        .ok_or_else(|| unclear(question, Vec::new()))
}

fn unclear(question: &Question<'_>, known: Vec<String>) -> Error {
    let (kind, place) = (question.kind, question.place.clone());
    match question.wanted {
        Some(name) => Error::NotFound {
            kind,
            name: name.to_owned(),
            place,
            known,
        },
        None if known.is_empty() => Error::usage(
            format!("there is no {kind} in {place} yet"),
            match kind {
                "organization" => {
                    "ask your platform team for one, or: railhead organization new NAME"
                }
                "project" => "railhead init",
                "environment" => "railhead environment new NAME",
                _ => "railhead up, railhead deploy or railhead service add NAME",
            },
        ),
        None => Error::usage(
            format!("which {kind} of {place}?"),
            format!(
                "{} with one of: {}; or link this folder once: railhead link",
                question.option,
                known.join(", ")
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(name: &str) -> Chosen {
        Chosen {
            id: format!("env_{}", "0".repeat(32)),
            name: name.into(),
        }
    }

    fn question(wanted: Option<&str>) -> Question<'_> {
        Question {
            kind: "environment",
            option: "-e",
            prefix: "env_",
            place: "shop".into(),
            wanted,
            fallback: Some("production"),
        }
    }

    #[test]
    fn the_only_one_or_production_is_meant_when_none_is_named() {
        let only = choose(&question(None), vec![chosen("staging")]).unwrap();
        assert_eq!(only.name, "staging");
        let both = vec![chosen("staging"), chosen("production")];
        assert_eq!(choose(&question(None), both).unwrap().name, "production");
    }

    #[test]
    fn what_is_unclear_names_the_choices() {
        let two = || vec![chosen("a"), chosen("b")];
        let unclear = choose(&question(None), two()).unwrap_err();
        assert_eq!(unclear.exit_code(), 2);
        assert!(unclear.advice().concat().contains("a, b"));
        let missing = choose(&question(Some("c")), two()).unwrap_err();
        assert_eq!(missing.exit_code(), 5);
        assert!(missing.advice().concat().contains("a, b"));
    }

    #[test]
    fn ids_are_told_from_names() {
        assert!(is_id(&format!("env_{}", "0".repeat(32)), "env_"));
        assert!(!is_id("env_short", "env_"));
        assert!(!is_id("production", "env_"));
    }
}
