//! The items of the three feeds. Stored rendered by the control plane, in the transaction that
//! bumps the generation; read by agents and edges.

mod bounds;
mod policy;
mod route;
mod rules;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use domain::{
    id::{
        ArchiveId, BuildId, DeploymentId, EnvironmentId, InstanceId, NodeId, OrganizationId,
        ReleaseId, ServiceId,
    },
    image::ImageReference,
    instance::Desired,
    name::{Name, VariableName},
    quantity::Span,
    spec::{Confinement, Probe, Resources, StopSignal},
};

use crate::feed::SecretRef;

pub use bounds::ENDPOINTS_MAX;
pub use policy::{Match, RoutePolicy, ServicePolicy, Split, item_timeouts};
pub use route::{
    AgentItem, CertificateItem, ChallengeItem, EdgeItem, Endpoint, GlobalRouteItem, HostnameItem,
    RegionRouteItem, ServiceItem,
};
pub use rules::RulesItem;

/// What every item of a feed can say, for who follows feeds without knowing what they are about.
pub trait Item: serde::de::DeserializeOwned + Send + Sync + 'static {
    /// The secrets it refers to: a node keeps these and erases all others.
    fn secrets(&self) -> Vec<&SecretRef>;

    /// The id that it must have in its feed: under another's id it would end, or take over, what is another's.
    fn id(&self) -> Option<String> {
        None
    }

    /// The node that may no longer be at the other end of a link, if the item says so.
    fn denied(&self) -> Option<NodeId> {
        None
    }
}

impl Item for NodeItem {
    fn secrets(&self) -> Vec<&SecretRef> {
        match self {
            Self::Instance(instance) => instance
                .environment
                .values()
                .filter_map(|value| match value {
                    Value::Literal(_) => None,
                    Value::Secret(secret) => Some(secret),
                })
                .collect(),
            Self::Build(build) => {
                let deploy_key = match &build.source {
                    BuildSource::Git { deploy_key, .. } => deploy_key.as_ref(),
                    BuildSource::Archive { .. } | BuildSource::Image { .. } => None,
                };
                build.secrets.values().chain(deploy_key).collect()
            }
            Self::Denied(_) => Vec::new(),
        }
    }

    fn id(&self) -> Option<String> {
        match self {
            Self::Instance(item) => Some(format!("instance/{}", item.id)),
            Self::Build(item) => Some(format!("build/{}", item.id)),
            Self::Denied(item) => Some(format!("denied/{}", item.node_id)),
        }
    }

    fn denied(&self) -> Option<NodeId> {
        match self {
            Self::Denied(item) => Some(item.node_id),
            Self::Instance(_) | Self::Build(_) => None,
        }
    }
}

impl Item for GlobalRouteItem {
    fn secrets(&self) -> Vec<&SecretRef> {
        match self {
            Self::Certificate(certificate) => vec![&certificate.key],
            Self::Hostname(_)
            | Self::Rules(_)
            | Self::Edge(_)
            | Self::Denied(_)
            | Self::Challenge(_) => Vec::new(),
        }
    }

    fn id(&self) -> Option<String> {
        match self {
            Self::Hostname(item) => Some(item.id()),
            Self::Rules(item) => Some(item.item_id()),
            Self::Certificate(item) => Some(item.item_id()),
            Self::Edge(item) => Some(format!("edge/{}", item.node_id)),
            Self::Denied(item) => Some(format!("denied/{}", item.node_id)),
            Self::Challenge(item) => Some(format!("challenge/{}", item.hostname)),
        }
    }

    fn denied(&self) -> Option<NodeId> {
        match self {
            Self::Denied(item) => Some(item.node_id),
            Self::Hostname(_)
            | Self::Rules(_)
            | Self::Certificate(_)
            | Self::Edge(_)
            | Self::Challenge(_) => None,
        }
    }
}

impl Item for RegionRouteItem {
    fn secrets(&self) -> Vec<&SecretRef> {
        Vec::new()
    }

    fn id(&self) -> Option<String> {
        match self {
            Self::Service(item) => Some(format!("service/{}", item.service_id)),
            Self::Agent(item) => Some(format!("agent/{}", item.node_id)),
        }
    }
}

/// An item of `node/<id>`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum NodeItem {
    /// Id `instance/<ins_…>`.
    Instance(Box<InstanceItem>),
    /// Id `build/<bld_…>`.
    Build(Box<BuildItem>),
    /// Id `denied/<nod_…>`.
    Denied(DeniedItem),
}

/// A node that an operator has expelled. Because expiry refuses nobody on node links, this does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeniedItem {
    /// The node.
    pub node_id: NodeId,
}

/// A container that the node shall run or end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InstanceItem {
    /// The instance.
    pub id: InstanceId,
    /// Run or stop.
    pub desired: Desired,
    /// Whose it is.
    pub organization_id: OrganizationId,
    /// Its private network is that of this environment.
    pub environment_id: EnvironmentId,
    /// What it is a copy of.
    pub service_id: ServiceId,
    /// `<name>.internal` on the private network.
    pub service_name: Name,
    /// The version.
    pub release_id: ReleaseId,
    /// The deployment that placed it.
    pub deployment_id: DeploymentId,
    /// `host/repository@sha256:…`, always by digest.
    pub image: String,
    /// Replaces the image's command when present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// The environment variables.
    pub environment: BTreeMap<VariableName, Value>,
    /// The port it listens on; none for a worker and for a one-shot command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Limits.
    pub resources: Resources,
    /// Confinement profile.
    pub confinement: Confinement,
    /// Serves until ended, or runs once.
    pub run: RunMode,
    /// SIGTERM or what the program wants instead.
    pub stop_signal: StopSignal,
    /// From the stop signal to SIGKILL.
    pub draining: Span,
    /// W3C trace context of the deployment that placed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}

/// How long a container runs, and how its health is judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "snake_case")]
pub enum RunMode {
    /// Until told to stop; restarted with backoff when it ends by itself.
    Service {
        /// Passes once first. TCP to the port when it has no path; absent for a worker.
        #[serde(
            default,
            skip_serializing_if = "Option::is_none",
            deserialize_with = "bounds::of_probe"
        )]
        startup: Option<Probe>,
        /// Decides `ready`.
        #[serde(
            default,
            skip_serializing_if = "Option::is_none",
            deserialize_with = "bounds::of_probe"
        )]
        readiness: Option<Probe>,
        /// Decides about restarts.
        #[serde(
            default,
            skip_serializing_if = "Option::is_none",
            deserialize_with = "bounds::of_probe"
        )]
        liveness: Option<Probe>,
    },
    /// Once, at most this long; never restarted. Its exit code is the result.
    Once {
        /// Ended after this long.
        timeout: Span,
    },
}

/// A variable's value in an item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Value {
    /// Not secret (`PORT`, `RAILHEAD_…`).
    Literal(String),
    /// Arrives in a secret frame.
    Secret(SecretRef),
}

/// An image that the node shall build and push.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BuildItem {
    /// The build.
    pub id: BuildId,
    /// True when a person (or the deployment's end) asks to stop it.
    pub cancel: bool,
    /// Whose it is.
    pub organization_id: OrganizationId,
    /// What it is built for.
    pub service_id: ServiceId,
    /// The deployment that waits for it.
    pub deployment_id: DeploymentId,
    /// Where the source comes from.
    pub source: BuildSource,
    /// The folder that is built, from the source's top.
    pub root: String,
    /// From `root`.
    pub dockerfile_path: String,
    /// Build arguments.
    pub args: BTreeMap<String, String>,
    /// Mounted for the build at `/run/secrets/<name>`.
    pub secrets: BTreeMap<VariableName, SecretRef>,
    /// `host/organization/service`, pushed with the build's id as tag; the digest is reported.
    pub repository: String,
    /// Time cap, from taking it up to the end of the push.
    pub timeout: Span,
    /// W3C trace context of the deployment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}

/// Where a build's source comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "snake_case")]
pub enum BuildSource {
    /// A git repository.
    Git {
        /// As the user wrote it; checked by `domain::spec::check_repo`.
        repo: String,
        /// Branch, tag or commit; the default branch when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reference: Option<String>,
        /// An OpenSSH private key, for ssh repositories.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deploy_key: Option<SecretRef>,
    },
    /// A `.tar.gz` that was uploaded; `GET /node/v1/archives/<id>`.
    Archive {
        /// The archive.
        id: ArchiveId,
        /// Of its bytes, hexadecimal.
        sha256: String,
    },
    /// A ready image, taken over as it is.
    Image {
        /// In whichever registry.
        image: ImageReference,
    },
}
