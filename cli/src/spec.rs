//! Changing a service's specification by the words of `railhead.toml`: `network.port=3000`. The
//! result is checked here with the platform's own rules, so that a slip is told at once.

use std::{collections::BTreeMap, str::FromStr};

use api::service::{CreateService, UpdateService};
use clap::Args;
use domain::{name::Name, spec::ServiceSpec};
use serde_json::{Map, Value, json};

use crate::{
    error::{Error, Result},
    output::Output,
};

/// Where the image comes from.
#[derive(Debug, Default, Args)]
pub struct SourceSettings {
    /// Git repository: https://…, ssh://… or git@host:path
    #[arg(long, value_name = "URL")]
    repo: Option<String>,
    /// Branch or tag to follow; the repository's default branch when left out
    #[arg(long, value_name = "NAME")]
    branch: Option<String>,
    /// Folder of the repository that is built
    #[arg(long, value_name = "FOLDER")]
    root: Option<String>,
    /// Ready image, instead of a repository
    #[arg(long, value_name = "IMAGE", conflicts_with_all = ["repo", "branch", "root"])]
    image: Option<String>,
}

/// How it is built and run.
#[derive(Debug, Default, Args)]
pub struct RunSettings {
    /// Dockerfile, from the top of what is built
    #[arg(long, value_name = "PATH")]
    dockerfile: Option<String>,
    /// Port that the program listens on (it gets it as PORT)
    #[arg(long)]
    port: Option<u16>,
    /// HTTP path that answers 2xx once the program can take requests
    #[arg(long, value_name = "PATH")]
    health: Option<String>,
    /// CPU cores of each instance, such as 0.5
    #[arg(long, value_name = "CORES")]
    cpu: Option<f64>,
    /// Memory of each instance, such as 512Mi
    #[arg(long, value_name = "BYTES")]
    memory: Option<String>,
    /// Instances in a region; repeat for more regions
    #[arg(long = "region", value_name = "REGION=N")]
    regions: Vec<Replicas>,
    /// Any other setting in the words of railhead.toml; repeat for more
    #[arg(long = "set", value_name = "KEY=VALUE")]
    others: Vec<Assignment>,
}

/// `eu-west=2`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replicas {
    /// The region.
    pub region: Name,
    /// How many there.
    pub count: u32,
}

/// `deploy.readiness.path=/health`; without a value the default is meant.
#[derive(Debug, Clone, PartialEq)]
pub struct Assignment {
    key: String,
    value: String,
}

impl FromStr for Replicas {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let (region, count) = text
            .split_once('=')
            .ok_or("expected REGION=NUMBER, such as eu-west=2")?;
        Ok(Self {
            region: region
                .parse()
                .map_err(|error| format!("{region}: {error}"))?,
            count: count
                .parse()
                .map_err(|_| format!("\"{count}\" is not a number of instances"))?,
        })
    }
}

impl FromStr for Assignment {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let (key, value) = text
            .split_once('=')
            .filter(|(key, _)| !key.is_empty() && !key.split('.').any(str::is_empty))
            .ok_or("expected KEY=VALUE, such as deploy.readiness.path=/health")?;
        Ok(Self {
            key: key.to_owned(),
            value: value.to_owned(),
        })
    }
}

/// Replicas as the API takes them.
pub fn regions(replicas: &[Replicas]) -> BTreeMap<Name, u32> {
    replicas
        .iter()
        .map(|replicas| (replicas.region.clone(), replicas.count))
        .collect()
}

/// What a service without any setting has.
pub fn empty() -> Result<ServiceSpec> {
    read(json!({}))
}

/// The specification with the settings; `None` when there is none to make.
pub fn with_settings(
    spec: &ServiceSpec,
    source: &SourceSettings,
    run: &RunSettings,
) -> Result<Option<ServiceSpec>> {
    let mut changes = source.changes(spec);
    changes.extend(run.changes());
    if changes.is_empty() && run.others.is_empty() {
        return Ok(None);
    }
    let mut value = write(spec)?;
    for (key, change) in changes {
        set(&mut value, &key, change)?;
    }
    for assignment in &run.others {
        value = assign(value, assignment)?;
    }
    check(read(value)?).map(Some)
}

/// As the API takes a new service.
pub fn create(output: Output, name: Name, spec: ServiceSpec) -> CreateService {
    CreateService {
        name,
        confirm_block_all: confirms(output, &spec),
        spec,
    }
}

/// As the API takes a change.
pub fn update(output: Output, spec: ServiceSpec) -> UpdateService {
    UpdateService {
        confirm_block_all: confirms(output, &spec),
        spec,
    }
}

/// `--yes` means rules that block everything as well. Platforms from before there were rules know nothing of it.
fn confirms(output: Output, spec: &ServiceSpec) -> bool {
    output.assumes_yes && !spec.edge.is_empty()
}

impl SourceSettings {
    fn changes(&self, spec: &ServiceSpec) -> Vec<(String, Value)> {
        if let Some(image) = &self.image {
            return vec![("source".to_owned(), json!({ "image": image }))];
        }
        let is_git = matches!(spec.source, Some(domain::spec::Source::Git(_)));
        let replaced = (self.repo.is_some() && !is_git)
            .then(|| ("source".to_owned(), json!({ "repo": self.repo })));
        let parts = [
            ("source.repo", &self.repo),
            ("source.branch", &self.branch),
            ("source.root", &self.root),
        ];
        replaced.into_iter().chain(given(&parts)).collect()
    }
}

impl RunSettings {
    fn changes(&self) -> Vec<(String, Value)> {
        let mut changes = given(&[
            ("build.dockerfile_path", &self.dockerfile),
            ("deploy.startup.path", &self.health),
            ("deploy.readiness.path", &self.health),
            ("scale.resources.memory", &self.memory),
        ]);
        if let Some(port) = self.port {
            changes.push(("network.port".to_owned(), port.into()));
        }
        if let Some(cpu) = self.cpu {
            changes.push(("scale.resources.cpu".to_owned(), cpu.into()));
        }
        for replicas in &self.regions {
            let key = format!("scale.regions.{}", replicas.region);
            changes.push((key, replicas.count.into()));
        }
        changes
    }
}

fn given(parts: &[(&str, &Option<String>)]) -> Vec<(String, Value)> {
    parts
        .iter()
        .filter_map(|(key, value)| Some(((*key).to_owned(), value.as_ref()?.clone().into())))
        .collect()
}

/// Takes the value as JSON (numbers, lists) where that fits, else as text.
fn assign(spec: Value, assignment: &Assignment) -> Result<Value> {
    let text = Value::String(assignment.value.clone());
    let first = match assignment.value.as_str() {
        "" => Value::Null,
        value => serde_json::from_str(value).unwrap_or_else(|_| text.clone()),
    };
    let mut fits = spec.clone();
    set(&mut fits, &assignment.key, first)?;
    let Err(error) = read(fits.clone()) else {
        return Ok(fits);
    };
    let mut as_text = spec;
    set(&mut as_text, &assignment.key, text)?;
    read(as_text.clone()).map(|_| as_text).map_err(|_| error)
}

fn set(spec: &mut Value, key: &str, value: Value) -> Result {
    let mut place = spec;
    let mut parts = key.split('.').peekable();
    while let Some(part) = parts.next() {
        if place.is_null() {
            *place = Value::Object(Map::new());
        }
        let Some(fields) = place.as_object_mut() else {
            return Err(Error::usage(
                format!("\"{key}\" goes below a setting that has no parts"),
                "railhead service show --json shows all settings",
            ));
        };
        if parts.peek().is_none() && value.is_null() {
            fields.remove(part);
            return Ok(());
        }
        place = fields.entry(part).or_insert(Value::Null);
    }
    *place = value;
    Ok(())
}

fn write(spec: &ServiceSpec) -> Result<Value> {
    serde_json::to_value(spec).map_err(|error| invalid(&error.to_string()))
}

fn read(value: Value) -> Result<ServiceSpec> {
    serde_json::from_value(value).map_err(|error| invalid(&error.to_string()))
}

fn check(spec: ServiceSpec) -> Result<ServiceSpec> {
    let mut faults: Vec<String> = spec.check().iter().map(ToString::to_string).collect();
    if faults.is_empty() {
        let unread = rules::compile(&spec.edge.rules).err().unwrap_or_default();
        faults.extend(unread.iter().map(ToString::to_string));
    }
    if faults.is_empty() {
        Ok(spec)
    } else {
        Err(invalid(&faults.join("; ")))
    }
}

fn invalid(reason: &str) -> Error {
    Error::usage(
        format!("that can't be set: {reason}"),
        "railhead service show --json shows all settings",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set_all(assignments: &[&str]) -> Result<ServiceSpec> {
        let run = RunSettings {
            others: assignments
                .iter()
                .map(|text| text.parse().unwrap())
                .collect(),
            ..RunSettings::default()
        };
        let source = SourceSettings::default();
        Ok(with_settings(&empty()?, &source, &run)?.unwrap())
    }

    #[test]
    fn settings_are_taken_in_the_words_of_the_file() {
        let spec = set_all(&[
            "network.port=3000",
            "deploy.readiness.path=/health",
            "deploy.start_command=[\"node\", \"main.js\"]",
            "deploy.draining=5s",
            "scale.resources.cpu=0.5",
            "build.args.VERSION=1",
        ])
        .unwrap();
        assert_eq!(spec.network.port, 3000);
        assert_eq!(spec.deploy.start_command.unwrap(), ["node", "main.js"]);
        assert_eq!(spec.build.args["VERSION"], "1");
    }

    #[test]
    fn slips_are_told_before_anything_is_sent() {
        for (assignment, part) in [
            ("network.prot=1", "prot"),
            ("network.port=0", "network.port"),
            ("deploy.readiness.path=health", "deploy.readiness"),
            ("network.port.x=1", "no parts"),
            (
                r#"edge.rules=[{"if":"request.path","then":{"action":"block"}}]"#,
                "edge.rules[0].if",
            ),
        ] {
            let error = set_all(&[assignment]).unwrap_err();
            assert!(error.to_string().contains(part), "{assignment}: {error}");
            assert_eq!(error.exit_code(), 2);
        }
        assert!("=x".parse::<Assignment>().is_err());
        assert!("a..b=x".parse::<Assignment>().is_err());
    }

    #[test]
    fn an_empty_value_brings_the_default_back() {
        let spec = set_all(&["network.port=3000", "network.port="]).unwrap();
        assert_eq!(spec.network.port, 8080);
    }

    #[test]
    fn a_repository_takes_the_place_of_an_image() {
        let image = SourceSettings {
            image: Some("a/b:1".into()),
            ..SourceSettings::default()
        };
        let repo = SourceSettings {
            repo: Some("https://a/b".into()),
            branch: Some("main".into()),
            ..SourceSettings::default()
        };
        let run = RunSettings::default();
        let spec = with_settings(&empty().unwrap(), &image, &run)
            .unwrap()
            .unwrap();
        let spec = with_settings(&spec, &repo, &run).unwrap().unwrap();
        assert_eq!(
            serde_json::to_value(&spec.source).unwrap(),
            json!({ "repo": "https://a/b", "branch": "main", "root": "/" })
        );
        assert_eq!(
            with_settings(&spec, &SourceSettings::default(), &run).unwrap(),
            None
        );
    }

    #[test]
    fn replicas_are_a_region_and_a_number() {
        assert_eq!("eu-west=2".parse::<Replicas>().unwrap().count, 2);
        for text in ["eu-west", "eu-west=", "eu-west=-1", "EU=1"] {
            assert!(text.parse::<Replicas>().is_err(), "{text}");
        }
    }
}
