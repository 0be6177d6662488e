//! What is there after the faults: rows, containers, routes, as read by [`crate::observe`].

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

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
    /// Private networks: region and environment, and how many an engine there has.
    pub networks: BTreeMap<(String, String), usize>,
    /// What regional routes lead to: region and instance.
    pub endpoints: BTreeSet<(String, String)>,
    /// Nodes that have not applied the newest document: what is wrong, in words.
    pub behind: Vec<String>,
    /// Nodes whose reservations are not what their instances take: what is wrong, in words.
    pub misreserved: Vec<String>,
    /// Effects that are there more often than once: what is wrong, in words.
    pub doubled: Vec<String>,
    /// Rows of services.
    pub services: BTreeMap<ServiceId, Presence>,
    /// Items of feeds that are about a service.
    pub items: Vec<Item>,
    /// Whose images the regions' engines have: region and service.
    pub images: BTreeSet<(String, ServiceId)>,
    /// Whose images or containers a region's agents say that they keep; nothing while one has not said.
    pub kept: BTreeMap<String, Option<BTreeSet<ServiceId>>>,
    /// Whose images, or their tags, the registry has.
    pub manifests: BTreeSet<ServiceId>,
    /// What rows say that somebody has asked for.
    pub made: BTreeSet<Done>,
    /// How often the audit log tells of it.
    pub audited: BTreeMap<Done, usize>,
    /// The environment whose variables the test sets.
    pub environment: String,
    /// Those, with their values.
    pub variables: BTreeMap<String, String>,
    /// Projects that are there.
    pub projects: BTreeSet<ProjectId>,
}

/// Something that was done, as the audit log has it: the action, and the id of what it was done to.
pub type Done = (String, String);

/// How much of a service is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// Nobody has deleted it.
    Whole,
    /// It is being deleted.
    Deleting {
        /// Since that, and since its last instance stopped; nothing while one runs, or when there never was one.
        idle: Option<Duration>,
    },
}

/// An item of a feed.
#[derive(Debug, Clone)]
pub struct Item {
    /// Such as `routes/global`.
    pub feed: String,
    /// Such as `instance/ins_…`.
    pub id: String,
    /// What it is about.
    pub service: ServiceId,
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
