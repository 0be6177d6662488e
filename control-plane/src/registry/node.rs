//! `POST /node/v1/registry-token`: a node gets a token for one repository, and only when its own
//! instances or builds need it.

use std::collections::BTreeSet;

use chrono::Utc;

use domain::id::NodeId;
use protocol::join::{RegistryToken, RegistryTokenRequest};

use super::{
    Issuer,
    scope::{Action, Repository, Scope, UnknownRepository},
};
use crate::store::{self, registry, tx::SystemTx};

/// Stages of one Dockerfile that begin with a base image.
const MOUNTS_MAX: usize = 8;

/// Why a node gets no token.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It asks for something that is no repository of ours.
    #[error(transparent)]
    Unknown(#[from] UnknownRepository),
    /// Nothing on that node needs it.
    #[error("no instance or build of this node needs {repository} ({action})")]
    Refused {
        /// What it asked for.
        repository: String,
        /// To do what.
        action: &'static str,
    },
    /// The database.
    #[error("could not look up what the node runs: {0}")]
    Store(#[from] store::Error),
    /// Signing.
    #[error(transparent)]
    Token(#[from] super::Error),
}

/// A token for what `node` asks, if its feed says that it needs it.
///
/// # Errors
/// [`Error::Refused`] and [`Error::Unknown`] are the node's fault, the others ours.
pub async fn node_token(
    tx: &mut SystemTx,
    issuer: &Issuer,
    node: NodeId,
    request: &RegistryTokenRequest,
) -> Result<RegistryToken, Error> {
    let repository: Repository = request.repository.parse()?;
    let allowed = match (&repository, request.push) {
        (Repository::Library(_), push) => !push,
        (
            Repository::Service {
                organization,
                service,
            },
            true,
        ) => registry::builds(tx, node, *organization, *service).await?,
        (
            Repository::Service {
                organization,
                service,
            },
            false,
        ) => registry::needs(tx, node, *organization, *service).await?,
    };
    if !allowed {
        return Err(Error::Refused {
            repository: repository.to_string(),
            action: if request.push { "push" } else { "pull" },
        });
    }
    let actions = if request.push {
        BTreeSet::from([Action::Pull, Action::Push])
    } else {
        BTreeSet::from([Action::Pull])
    };
    let mut scopes = vec![Scope {
        repository,
        actions,
    }];
    for name in request.mount_from.iter().take(MOUNTS_MAX) {
        scopes.push(base_image(name)?);
    }
    Ok(issuer.issue(&node.to_string(), &scopes, Utc::now())?)
}

/// Everybody may read base images.
fn base_image(name: &str) -> Result<Scope, Error> {
    let repository: Repository = name.parse()?;
    if !matches!(repository, Repository::Library(_)) {
        return Err(Error::Refused {
            repository: repository.to_string(),
            action: "mount",
        });
    }
    Ok(Scope {
        repository,
        actions: BTreeSet::from([Action::Pull]),
    })
}
