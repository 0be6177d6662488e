//! What is there after the faults: rows, containers, routes, as read by [`crate::observe`].

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use domain::{
    deployment::machine::Step,
    id::{DeploymentId, ProjectId, ServiceId},
};

/// All of it.
#[derive(Debug, Clone, Default)]
pub struct World {
    /// Of every service that is or was.
    pub deployments: Vec<Deployment>,
    /// Replicas that each active service's specification asks for, by region.
    pub wanted: BTreeMap<ServiceId, BTreeMap<String, u32>>,
    /// Rows of instances, by id.
    pub instances: BTreeMap<String, Instance>,
    /// In the regions' engines.
    pub containers: Vec<Container>,
    /// Private networks in the regions' engines: region and environment.
    pub networks: BTreeSet<(String, String)>,
    /// What regional routes lead to: region and instance.
    pub endpoints: BTreeSet<(String, String)>,
    /// Nodes that have not applied the newest document: what is wrong, in words.
    pub behind: Vec<String>,
    /// Nodes whose reservations are not what their instances take: what is wrong, in words.
    pub misreserved: Vec<String>,
    /// How often the audit log tells that a deployment was asked for.
    pub audited: BTreeMap<DeploymentId, usize>,
    /// The variables that the test sets, with their values.
    pub variables: BTreeMap<String, String>,
    /// Projects that are there.
    pub projects: BTreeSet<ProjectId>,
}

/// A deployment's row and what was told of it.
#[derive(Debug, Clone)]
pub struct Deployment {
    /// The deployment.
    pub id: DeploymentId,
    /// Of what.
    pub service: ServiceId,
    /// Such as `rollback`.
    pub reason: String,
    /// Where it stands.
    pub state: Step,
    /// The steps it entered, in order.
    pub steps: Vec<(Step, DateTime<Utc>)>,
    /// The steps that events told of, in order.
    pub told: Vec<Step>,
    /// Code and message.
    pub problem: Option<(String, String)>,
}

/// An instance's row.
#[derive(Debug, Clone)]
pub struct Instance {
    /// What it is a copy of.
    pub service: ServiceId,
    /// Its environment.
    pub environment: String,
    /// Where.
    pub region: String,
    /// The plan wants it to run.
    pub wanted: bool,
    /// It has been stopped.
    pub stopped: bool,
    /// It is one of the replicas, no release command.
    pub serves: bool,
    /// Its agent says that it takes traffic.
    pub ready: bool,
}

/// A container that carries our label.
#[derive(Debug, Clone)]
pub struct Container {
    /// Whose engine has it.
    pub region: String,
    /// By its label.
    pub instance: String,
    /// Such as `running`.
    pub state: String,
}
