//! Who may know whom (docs/ARCHITECTURE.md), read from the resolved dependency graph: normal and build
//! dependencies, however deep.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, PackageId};

use crate::cargo::workspace;

struct Rule {
    package: &'static str,
    must_not_reach: &'static [&'static str],
    because: &'static str,
}

const NODES: &[&str] = &["sqlx", "sqlx-core", "control-plane"];

const RULES: &[Rule] = &[
    Rule {
        package: "agent",
        must_not_reach: NODES,
        because: "a node follows its feed and needs no database",
    },
    Rule {
        package: "edge-proxy",
        must_not_reach: NODES,
        because: "a node follows its feed and needs no database",
    },
    Rule {
        package: "cli",
        must_not_reach: NODES,
        because: "the CLI is a face of the REST API",
    },
    Rule {
        package: "domain",
        must_not_reach: &["tokio", "sqlx"],
        because: "the domain does no I/O",
    },
    Rule {
        package: "scheduler",
        must_not_reach: &["tokio", "sqlx"],
        because: "the scheduler is pure",
    },
    Rule {
        package: "rules",
        must_not_reach: &["tokio", "sqlx"],
        because: "a decision about a request does no I/O",
    },
    Rule {
        package: "xtask",
        must_not_reach: &["tokio", "sqlx", "reqwest"],
        because: "it is built before everything else",
    },
];

/// Every rule that the graph breaks.
pub fn check() -> Result<Vec<String>> {
    let metadata = MetadataCommand::new()
        .manifest_path(workspace()?.join("Cargo.toml"))
        .exec()
        .context("asking cargo for the dependency graph")?;
    let graph = Graph::new(&metadata)?;
    Ok(RULES.iter().flat_map(|rule| graph.broken(rule)).collect())
}

struct Graph<'a> {
    names: BTreeMap<&'a PackageId, &'a str>,
    edges: BTreeMap<&'a PackageId, Vec<&'a PackageId>>,
}

impl<'a> Graph<'a> {
    fn new(metadata: &'a Metadata) -> Result<Self> {
        let resolve = metadata
            .resolve
            .as_ref()
            .context("cargo gave no dependency graph")?;
        let names = metadata
            .packages
            .iter()
            .map(|package| (&package.id, package.name.as_str()))
            .collect();
        let edges = resolve
            .nodes
            .iter()
            .map(|node| (&node.id, shipped_dependencies(node)))
            .collect();
        Ok(Self { names, edges })
    }

    fn broken(&self, rule: &Rule) -> Vec<String> {
        let reached = self.reached_from(rule.package);
        rule.must_not_reach
            .iter()
            .filter(|name| reached.contains(*name))
            .map(|name| format!("{} reaches {name}: {}", rule.package, rule.because))
            .collect()
    }

    fn reached_from(&self, package: &str) -> BTreeSet<&'a str> {
        let mut open: Vec<_> = self
            .names
            .iter()
            .filter(|(_, name)| **name == package)
            .map(|(id, _)| *id)
            .collect();
        let mut seen: BTreeSet<_> = open.iter().copied().collect();
        while let Some(id) = open.pop() {
            for next in self.edges.get(id).into_iter().flatten() {
                if seen.insert(next) {
                    open.push(next);
                }
            }
        }
        seen.iter()
            .filter_map(|id| self.names.get(id).copied())
            .filter(|name| *name != package)
            .collect()
    }
}

fn shipped_dependencies(node: &cargo_metadata::Node) -> Vec<&PackageId> {
    node.deps
        .iter()
        .filter(|dependency| {
            dependency
                .dep_kinds
                .iter()
                .any(|kind| kind.kind != DependencyKind::Development)
        })
        .map(|dependency| &dependency.pkg)
        .collect()
}
