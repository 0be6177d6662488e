//! The node as a whole: from its configuration to its identity, its client and its feeds.

use std::path::PathBuf;

use domain::name::Name;
use protocol::{feed::FeedName, item::Item, join::Role};
use reqwest::Url;

use crate::{
    client::{self, Client},
    follow::{self, Follower},
    identity::{self, Identity, Join, Store, join, keep_renewed},
    node_key::{self, NodeKey},
    tls,
    writing::Writing,
};

/// What a node is told in its configuration file.
#[derive(Debug, Clone)]
pub struct Config {
    /// Base URL of the control plane's node API.
    pub control_plane: Url,
    /// What the machine is called, for people.
    pub name: Name,
    /// What the binary is.
    pub role: Role,
    /// The data folder.
    pub state_dir: PathBuf,
    /// The node key; beside the data folder unless set.
    pub node_key_file: Option<PathBuf>,
    /// Used once, while there is no identity on disk.
    pub join_token_file: Option<PathBuf>,
}

/// Why the node can't start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The node key can't be used.
    #[error(transparent)]
    NodeKey(#[from] node_key::Error),
    /// There is no identity.
    #[error(transparent)]
    Identity(#[from] identity::Error),
    /// The client can't be made.
    #[error(transparent)]
    Client(#[from] client::Error),
    /// TLS can't be set up.
    #[error("TLS to the control plane can't be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// A node that has joined. Clones share everything.
#[derive(Debug, Clone)]
pub struct Link {
    identity: Identity,
    client: Client,
    node_key: NodeKey,
    store: Store,
    state_dir: PathBuf,
    writing: Writing,
}

impl Link {
    /// Takes the identity from disk, without any network; joins if there is none.
    ///
    /// # Errors
    /// When the disk can't be used or the join is refused.
    pub async fn open(config: Config) -> Result<Self, Error> {
        let key_path = config
            .node_key_file
            .unwrap_or_else(|| NodeKey::default_path(&config.state_dir));
        let node_key = NodeKey::ensure(&key_path)?;
        let store = Store::open(&config.state_dir, node_key.clone())?;
        let credentials = match store.load()? {
            Some(credentials) => credentials,
            None => {
                let join_with = Join {
                    control_plane: &config.control_plane,
                    name: &config.name,
                    role: config.role,
                    token_file: config.join_token_file.as_ref(),
                };
                join(&store, &join_with).await?
            }
        };
        let identity = Identity::new(credentials);
        let client = Client::new(config.control_plane, tls::control_plane_config(&identity)?)?;
        Ok(Self {
            identity,
            client,
            node_key,
            store,
            state_dir: config.state_dir,
            writing: Writing::default(),
        })
    }

    /// Who this node is.
    #[must_use]
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Requests to the control plane.
    #[must_use]
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// Who writes the state folder.
    #[must_use]
    pub const fn writing(&self) -> &Writing {
        &self.writing
    }

    /// Keeps the certificate renewed; never ends. To be spawned.
    pub async fn renew(self) {
        keep_renewed(self.identity, self.store, self.client, self.writing).await;
    }

    /// Loads a feed's last good state from disk. Nothing connects before [`Follower::run`].
    ///
    /// # Errors
    /// When the disk can't be used.
    pub fn follow<T: Item>(&self, feed: FeedName) -> Result<Follower<T>, follow::Error> {
        Follower::load(
            feed,
            &self.state_dir,
            self.node_key.clone(),
            self.identity.clone(),
            self.client.clone(),
            self.writing.clone(),
        )
    }
}
