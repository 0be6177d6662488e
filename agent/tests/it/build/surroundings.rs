//! What a builder has around it, from memory: a control plane, logs and secrets.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use agent::{
    build::{ControlPlane, LogSink},
    secrets::Secrets,
};
use async_trait::async_trait;
use domain::id::{ArchiveId, BuildId, OrganizationId};
use link::client;
use protocol::{
    feed::SecretRef,
    join::{RegistryToken, RegistryTokenRequest},
    log::{LogLine, LogSource},
};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::registry::Registry;

/// The test's own control plane: tokens for one organization, archives from memory.
pub struct Platform {
    pub registry: Arc<Registry>,
    pub organization: OrganizationId,
    pub archives: Mutex<HashMap<ArchiveId, Vec<u8>>>,
    /// Whether it is away.
    pub away: AtomicBool,
}

#[async_trait]
impl ControlPlane for Platform {
    async fn registry_token(
        &self,
        request: &RegistryTokenRequest,
    ) -> Result<RegistryToken, client::Error> {
        if self.away.load(Ordering::Relaxed) {
            return Err(refused(503, "away"));
        }
        let own = request
            .repository
            .starts_with(&format!("{}/", self.organization));
        let base = request.repository.starts_with("library/") && !request.push;
        if !own && !base {
            return Err(refused(403, "not a repository of this node's builds"));
        }
        let actions: &[&str] = if request.push {
            &["pull", "push"]
        } else {
            &["pull"]
        };
        let bases = request.mount_from.iter();
        let scopes = std::iter::once((request.repository.as_str(), actions))
            .chain(bases.map(|base| (base.as_str(), &["pull"][..])));
        Ok(self.registry.token_for(scopes))
    }

    async fn download_archive(
        &self,
        id: ArchiveId,
        sha256: &str,
        to: &Path,
        _: u64,
    ) -> Result<(), client::Error> {
        let bytes = self.archives.lock().unwrap().get(&id).cloned();
        let url = format!("/node/v1/archives/{id}");
        let bytes = bytes.ok_or_else(|| refused(404, "no such archive"))?;
        std::fs::write(to, &bytes).unwrap();
        let found = hex::encode(Sha256::digest(&bytes));
        if found == sha256 {
            return Ok(());
        }
        Err(client::Error::Checksum {
            url,
            expected: sha256.to_owned(),
            found,
        })
    }
}

fn refused(status: u16, detail: &str) -> client::Error {
    client::Error::Refused {
        url: "https://control-plane".into(),
        status: reqwest::StatusCode::from_u16(status).unwrap(),
        code: None,
        detail: detail.to_owned(),
        turn: None,
    }
}

/// Keeps every line.
#[derive(Default)]
pub struct Lines(Mutex<HashMap<LogSource, Vec<LogLine>>>);

#[async_trait]
impl LogSink for Lines {
    async fn append(&self, source: LogSource, lines: Vec<LogLine>, _: u64) {
        self.0
            .lock()
            .unwrap()
            .entry(source)
            .or_default()
            .extend(lines);
    }
    async fn end(&self, _: LogSource) {}
}

impl Lines {
    pub fn of(&self, build: BuildId) -> String {
        let lines = self.0.lock().unwrap();
        let lines = lines.get(&LogSource::Build(build)).into_iter().flatten();
        lines.map(|line| format!("{}\n", line.text)).collect()
    }
}

/// Secrets by key.
#[derive(Default)]
pub struct Held(pub Mutex<BTreeMap<String, String>>);

impl Secrets for Held {
    fn open(&self, secret: &SecretRef) -> Option<Zeroizing<String>> {
        self.0
            .lock()
            .unwrap()
            .get(&secret.key)
            .cloned()
            .map(Zeroizing::new)
    }
}

impl Held {
    pub fn hold(&self, key: &str, value: &str) -> SecretRef {
        self.0
            .lock()
            .unwrap()
            .insert(key.to_owned(), value.to_owned());
        SecretRef {
            key: key.to_owned(),
            version: 1,
        }
    }
}
