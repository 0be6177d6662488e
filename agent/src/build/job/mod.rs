//! One build from its source to its digest in the registry.

mod build;
mod push;

use std::sync::Arc;

use tokio::sync::mpsc;
use zeroize::Zeroizing;

use protocol::{
    feed::SecretRef,
    item::{BuildItem, BuildSource},
    log::Stream,
    report::{BuildResult, BuildState, CommitInfo},
};

use super::{
    Dependencies,
    base_image::BaseImage,
    blocking::blocking,
    buildkit::SecretFiles,
    config::Config,
    context::{Context, Selection},
    engine::Engine,
    error::Error,
    fetch::Fetch,
    log::Log,
    registry::Registry,
    retry,
    workspace::Workspace,
};

/// The id under which `extra_ca_file` is mounted.
const CA_SECRET: &str = "ca";

/// What all builds of a node share.
pub struct Shared {
    pub config: Config,
    pub dependencies: Dependencies,
    pub registry: Registry,
}

/// One build and what it needs.
pub struct Job {
    pub shared: Arc<Shared>,
    pub item: Arc<BuildItem>,
    pub log: Log,
    /// Told of each step.
    pub states: mpsc::Sender<BuildState>,
}

impl Job {
    /// Builds and pushes, within the time cap. Dropping the future stops everything that runs for it.
    pub async fn run(self) -> Result<BuildResult, Error> {
        let after = self.item.timeout.duration();
        tokio::time::timeout(after, self.steps())
            .await
            .unwrap_or(Err(Error::TimedOut { after }))
    }

    async fn steps(self) -> Result<BuildResult, Error> {
        let engine = self
            .persist(|| Engine::connect(&self.shared.config.socket))
            .await?;
        let secrets = Arc::new(self.secrets().await?);
        let workspace = Arc::new(self.workspace().await?);
        self.enter(BuildState::Fetching).await;
        let commit = self.persist(|| self.fetch(&workspace)).await?;
        self.enter(BuildState::Building).await;
        let context = self.pack(&workspace).await?;
        let platform = self.persist(|| engine.platform()).await?;
        let build = || self.build(&workspace, &context, &secrets, &platform);
        let bases = self.persist(build).await?;
        self.enter(BuildState::Pushing).await;
        let image = self
            .persist(|| self.push(&engine, &platform, &bases))
            .await?;
        if let Err(error) = engine.clean(self.shared.config.disk_budget).await {
            tracing::warn!(%error, "the build engine's disk was not cleaned");
        }
        Ok(BuildResult {
            digest: image.digest,
            size: image.size,
            commit,
            source_digest: self.source_digest(&bases),
        })
    }

    /// Takes a step, again while a part of the platform is away.
    async fn persist<T, F>(&self, step: impl FnMut() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let patience = self.shared.config.patience.duration();
        let told = |error: &Error, wait| {
            tracing::warn!(%error, ?wait, "a build's step is tried again");
            let text = format!("{}: trying again in {wait:.1?}", error.code());
            self.log.line(Stream::Stderr, &text);
        };
        retry::while_passing(patience, step, told).await
    }

    async fn enter(&self, state: BuildState) {
        // The receiver is gone only when the agent is ending.
        let _ = self.states.send(state).await;
    }

    /// Build secrets by mount id, and the operator's CA certificates.
    async fn secrets(&self) -> Result<SecretFiles, Error> {
        let mut files = SecretFiles::new();
        for (name, reference) in &self.item.secrets {
            let value = self.open(name.as_str(), reference)?;
            files.insert(name.to_string(), Zeroizing::new(value.as_bytes().to_vec()));
        }
        if let Some(path) = self.shared.config.extra_ca_file.clone() {
            let read =
                move || std::fs::read(&path).map_err(Error::io("read the extra CA file", path));
            let certificates = blocking(read).await?;
            files
                .entry(CA_SECRET.to_owned())
                .or_insert_with(|| Zeroizing::new(certificates));
        }
        Ok(files)
    }

    fn open(&self, name: &str, reference: &SecretRef) -> Result<Zeroizing<String>, Error> {
        self.shared
            .dependencies
            .secrets
            .open(reference)
            .ok_or_else(|| Error::SecretMissing {
                name: name.to_owned(),
            })
    }

    async fn workspace(&self) -> Result<Workspace, Error> {
        let (parent, id) = (
            super::work_folder(&self.shared.config.data_dir),
            self.item.id,
        );
        let uid = self.shared.config.fetch_uid;
        blocking(move || Workspace::create(&parent, id, uid)).await
    }

    async fn fetch(&self, workspace: &Arc<Workspace>) -> Result<Option<CommitInfo>, Error> {
        let deploy_key = match &self.item.source {
            BuildSource::Git {
                deploy_key: Some(key),
                ..
            } => Some(self.open("the deploy key", key)?),
            _ => None,
        };
        let fetch = Fetch {
            config: &self.shared.config,
            control_plane: &*self.shared.dependencies.control_plane,
            workspace,
            organization: self.item.organization_id,
            deploy_key,
            log: &self.log,
        };
        fetch.run(&self.item.source).await
    }

    async fn pack(&self, workspace: &Workspace) -> Result<Context, Error> {
        let to = context_file(workspace);
        if let BuildSource::Image { image } = &self.item.source {
            self.log
                .line(Stream::Stdout, &format!("Taking over {image}"));
            let image = image.clone();
            return blocking(move || Context::of_image(&image, &to)).await;
        }
        let selection = Selection {
            source: workspace.source(),
            root: self.item.root.clone(),
            dockerfile: self.item.dockerfile_path.clone(),
        };
        blocking(move || selection.pack(&to)).await
    }

    /// Of the image that was taken over.
    fn source_digest(&self, bases: &[BaseImage]) -> Option<String> {
        match &self.item.source {
            BuildSource::Image { .. } => bases.first().map(|base| base.digest.clone()),
            _ => None,
        }
    }
}

fn context_file(workspace: &Workspace) -> std::path::PathBuf {
    workspace.file("context.tar")
}
