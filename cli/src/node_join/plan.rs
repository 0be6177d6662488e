//! What a machine needs to be a node, as files, units and packages. Pure: the machine and the platform in, the whole
//! plan out; executing it has no choices left.

use std::path::PathBuf;

use domain::quantity::Bytes;
use protocol::join::Role;
use serde::Serialize;

use super::{
    choices::Choices, config, error::Result, host::Host, options::Options, paths,
    platform::Platform,
};

/// Everything that is to be so.
#[derive(Debug, Serialize)]
pub struct Plan {
    /// What was decided.
    pub choices: Choices,
    /// Our programs.
    pub programs: Vec<Program>,
    /// Written whole, in this order.
    pub files: Vec<File>,
    /// The size of the build engine's disk; none without builds.
    pub build_disk: Option<Bytes>,
    /// Started in this order, and with the machine.
    pub units: Vec<&'static str>,
    /// Roles that are to join.
    #[serde(skip)]
    pub joining: Vec<Role>,
}

/// One of our programs.
#[derive(Debug, Serialize)]
pub struct Program {
    /// Where it comes from.
    pub from: PathBuf,
    /// Where it goes.
    pub to: PathBuf,
    /// What runs it.
    pub unit: &'static str,
}

/// A file.
#[derive(Debug, Serialize)]
pub struct File {
    /// Where.
    pub path: PathBuf,
    /// Permissions.
    pub mode: u32,
    /// Its group is the edge's, else root.
    pub of_edge: bool,
    /// What it says; a token is not shown.
    #[serde(serialize_with = "shown")]
    pub content: Content,
    /// What is restarted when it changes.
    pub unit: Option<&'static str>,
}

/// What a file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// For everybody who may read the file.
    Public(String),
    /// For the one who uses it.
    Secret(String),
}

impl Content {
    /// The text.
    pub fn text(&self) -> &str {
        match self {
            Self::Public(text) | Self::Secret(text) => text,
        }
    }
}

fn shown<S: serde::Serializer>(
    content: &Content,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_str(match content {
        Content::Public(text) => text,
        Content::Secret(_) => "(secret)",
    })
}

/// The agent, the engines, and what they need.
pub const AGENT: &str = "railhead-agent.service";
/// The edge.
pub const EDGE: &str = "railhead-edge.service";
/// Runs workloads.
pub const ENGINE: &str = "railhead-engine.service";
/// Builds.
pub const BUILD_ENGINE: &str = "railhead-build-engine.service";
/// What builds run in.
pub const BUILD_NETWORK: &str = "railhead-build-network.service";
/// What builds may fill.
pub const BUILD_DISK: &str = "var-lib-railhead-build.mount";

macro_rules! unit {
    ($name:literal) => {
        (
            $name,
            include_str!(concat!("../../../packaging/systemd/", $name)),
        )
    };
}

const SLICE: (&str, &str) = unit!("railhead.slice");
const EDGE_UNITS: [(&str, &str); 1] = [unit!("railhead-edge.service")];
const AGENT_UNITS: [(&str, &str); 3] = [
    unit!("railhead_workloads.slice"),
    unit!("railhead-engine.service"),
    unit!("railhead-agent.service"),
];
const BUILD_UNITS: [(&str, &str); 4] = [
    unit!("railhead_build.slice"),
    unit!("var-lib-railhead-build.mount"),
    unit!("railhead-build-network.service"),
    unit!("railhead-build-engine.service"),
];
const SYSUSERS: &str = include_str!("../../../packaging/systemd/railhead.sysusers");

/// The whole plan.
pub fn plan(
    host: &Host,
    platform: &Platform,
    options: &Options,
    binaries: &std::path::Path,
) -> Result<Plan> {
    let choices = Choices::make(host, options)?;
    let roles: Vec<Role> = platform.tokens.keys().copied().collect();
    let mut plan = Plan {
        programs: roles.iter().map(|role| program(*role, binaries)).collect(),
        files: vec![
            public("/etc/railhead/ca.pem", 0o644, platform.ca.clone()),
            unit(SLICE),
        ],
        build_disk: None,
        units: Vec::new(),
        joining: Vec::new(),
        choices,
    };
    if roles.contains(&Role::Agent) {
        plan.agent(host, platform, options);
    }
    if roles.contains(&Role::Edge) {
        plan.edge(platform);
    }
    plan.join(host, platform);
    plan.decided();
    Ok(plan)
}

impl Plan {
    fn agent(&mut self, host: &Host, platform: &Platform, options: &Options) {
        if let Some(build) = self.choices.build.clone() {
            self.build_disk = Some(build.disk);
            self.files.extend(BUILD_UNITS.map(unit));
            self.files
                .push(limits("railhead_build.slice", config::build_limits(&build)));
            for (name, text) in config::build_network(host, platform, &self.choices) {
                let path = format!("{}/build-network/{name}", paths::CONFIG);
                self.files
                    .push(public(&path, 0o644, text).of(BUILD_NETWORK));
            }
            let text = config::build_engine(host, platform, &self.choices);
            self.files
                .push(public("/etc/railhead/build-engine.json", 0o644, text).of(BUILD_ENGINE));
            self.units.extend([BUILD_DISK, BUILD_NETWORK, BUILD_ENGINE]);
        }
        self.files.extend(AGENT_UNITS.map(unit));
        self.files.push(limits(
            "railhead_workloads.slice",
            config::workload_limits(&self.choices),
        ));
        let text = config::engine(host, platform, &self.choices);
        self.files
            .push(public("/etc/railhead/engine.json", 0o644, text).of(ENGINE));
        let text = config::agent(host, platform, &self.choices, options);
        self.files
            .push(public("/etc/railhead/agent.toml", 0o640, text).of(AGENT));
        self.units.extend([ENGINE, AGENT]);
    }

    fn edge(&mut self, platform: &Platform) {
        // First: the user must be there before a file of its group.
        self.files
            .insert(0, public(paths::SYSUSERS, 0o644, SYSUSERS.to_owned()));
        self.files.extend(EDGE_UNITS.map(unit));
        let text = config::edge(platform, &self.choices);
        let mut file = public("/etc/railhead/edge.toml", 0o640, text).of(EDGE);
        file.of_edge = true;
        self.files.push(file);
        self.units.push(EDGE);
    }

    /// Roles that this machine has an identity for have joined.
    fn join(&mut self, host: &Host, platform: &Platform) {
        for (role, token) in &platform.tokens {
            if host.identities.contains_key(role) {
                continue;
            }
            self.joining.push(*role);
            self.files.push(File {
                path: paths::token_file(role.as_str()).into(),
                mode: 0o640,
                of_edge: *role == Role::Edge,
                content: Content::Secret(token.to_string()),
                unit: None,
            });
        }
    }

    fn decided(&mut self) {
        let text = serde_json::to_string_pretty(&self.choices).unwrap_or_default();
        self.files.push(public(paths::NODE, 0o644, text + "\n"));
    }
}

impl File {
    fn of(mut self, unit: &'static str) -> Self {
        self.unit = Some(unit);
        self
    }

    /// Whether systemd has to read it.
    pub fn is_unit(&self) -> bool {
        self.path.starts_with(paths::UNITS)
    }
}

fn public(path: &str, mode: u32, text: String) -> File {
    File {
        path: path.into(),
        mode,
        of_edge: false,
        content: Content::Public(text),
        unit: None,
    }
}

fn unit((name, text): (&'static str, &str)) -> File {
    let mut file = public(&format!("{}/{name}", paths::UNITS), 0o644, text.to_owned());
    file.unit = name.ends_with(".service").then_some(name);
    file
}

fn limits(slice: &str, text: String) -> File {
    public(
        &format!("{}/{slice}.d/limits.conf", paths::UNITS),
        0o644,
        text,
    )
}

fn program(role: Role, binaries: &std::path::Path) -> Program {
    let (name, unit) = match role {
        Role::Agent => ("agent", AGENT),
        Role::Edge => ("edge-proxy", EDGE),
    };
    Program {
        from: binaries.join(name),
        to: PathBuf::from(paths::PROGRAMS).join(name),
        unit,
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;
    use crate::node_join::samples::{host, platform};

    fn text_of(plan: &Plan) -> String {
        let mut text = String::new();
        for program in &plan.programs {
            let _ = writeln!(
                text,
                "program {} from {}",
                program.to.display(),
                program.from.display()
            );
        }
        for file in &plan.files {
            let group = if file.of_edge {
                "railhead-edge"
            } else {
                "root"
            };
            let _ = writeln!(
                text,
                "\n==> {} {:o} {group}",
                file.path.display(),
                file.mode
            );
            let units = file.path.starts_with(paths::UNITS)
                && file.path.extension() != Some("conf".as_ref());
            if !units {
                text.push_str(match &file.content {
                    Content::Public(content) => content,
                    Content::Secret(_) => "(secret)\n",
                });
            }
        }
        let _ = writeln!(
            text,
            "\nbuild disk {:?}\nunits {:#?}",
            plan.build_disk, plan.units
        );
        text
    }

    #[test]
    fn a_machine_that_becomes_agent_edge_and_builder() {
        let plan = plan(&host(), &platform(), &Options::default(), "/srv".as_ref()).unwrap();
        insta::assert_snapshot!(text_of(&plan));
    }

    #[test]
    fn without_edge_and_builds_nothing_of_them_is_planned() {
        let mut platform = platform();
        platform.tokens.remove(&Role::Edge);
        let options = Options {
            no_build: true,
            ..Options::default()
        };
        let plan = plan(&host(), &platform, &options, "/srv".as_ref()).unwrap();
        assert_eq!(plan.units, [ENGINE, AGENT]);
        let leftover = |file: &&File| {
            file.path.to_string_lossy().contains("edge")
                || file.path.to_string_lossy().contains("build")
        };
        assert_eq!(
            plan.files.iter().find(leftover).map(|file| &file.path),
            None
        );
        let agent = plan
            .files
            .iter()
            .find(|file| file.path.ends_with("agent.toml"))
            .unwrap();
        assert!(!agent.content.text().contains("[build]"));
    }

    #[test]
    fn a_token_is_written_for_a_role_that_has_not_joined_and_never_shown() {
        let first = plan(&host(), &platform(), &Options::default(), "/srv".as_ref()).unwrap();
        assert_eq!(first.joining, [Role::Agent, Role::Edge]);
        let shown = serde_json::to_string(&first).unwrap();
        assert!(!shown.contains("rhj_"), "{shown}");

        let mut joined = host();
        let identity = crate::node_join::samples::identity();
        joined.identities = [(Role::Agent, identity.clone()), (Role::Edge, identity)].into();
        let second = plan(&joined, &platform(), &Options::default(), "/srv".as_ref()).unwrap();
        assert_eq!(second.joining, []);
        assert!(
            second
                .files
                .iter()
                .all(|file| matches!(file.content, Content::Public(_)))
        );
    }

    #[test]
    fn units_say_the_paths_that_the_plan_writes() {
        let plan = plan(&host(), &platform(), &Options::default(), "/srv".as_ref()).unwrap();
        let all: String = plan
            .files
            .iter()
            .filter(|file| file.is_unit())
            .map(|file| file.content.text())
            .collect();
        for path in plan.programs.iter().map(|program| &program.to).chain(
            plan.files
                .iter()
                .filter(|file| file.unit.is_some() && !file.is_unit())
                .map(|file| &file.path),
        ) {
            let path = path.display().to_string();
            assert!(all.contains(&path), "no unit names {path}");
        }
        assert!(all.contains(&format!("What={}", paths::BUILD_DISK)));
    }
}
