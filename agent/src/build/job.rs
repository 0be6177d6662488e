//! One build from its source to its digest in the registry.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use protocol::{
    feed::SecretRef,
    item::{BuildItem, BuildSource},
    join::{RegistryToken, RegistryTokenRequest},
    log::Stream,
    report::{BuildResult, BuildState, CommitInfo},
};

use super::{
    ControlPlane, Dependencies,
    buildkit::{self, Progress, SecretFiles, Session, TokenSource},
    config::Config,
    context::{Context, Selection},
    diagnosis::{self, Subject},
    engine::{Engine, LABEL_BUILD},
    error::Error,
    fetch::Fetch,
    log::Log,
    mount::{BaseImage, Registry},
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
        let engine = Engine::connect(&self.shared.config.socket).await?;
        let secrets = self.secrets()?;
        let workspace = self.workspace().await?;
        self.enter(BuildState::Fetching).await;
        let commit = self.fetch(&workspace).await?;
        self.enter(BuildState::Building).await;
        let context = self.pack(&workspace).await?;
        let platform = engine.platform().await?;
        let bases = self.build(&workspace, &context, secrets, &platform).await?;
        self.enter(BuildState::Pushing).await;
        let result = self.push(&engine, commit, platform, &bases).await?;
        if let Err(error) = engine.clean(self.shared.config.disk_budget).await {
            tracing::warn!(%error, "the build engine's disk was not cleaned");
        }
        Ok(result)
    }

    async fn enter(&self, state: BuildState) {
        // The receiver is gone only when the agent is ending.
        let _ = self.states.send(state).await;
    }

    /// Build secrets by mount id, and the operator's CA certificates.
    fn secrets(&self) -> Result<SecretFiles, Error> {
        let mut files = SecretFiles::new();
        for (name, reference) in &self.item.secrets {
            let value = self.open(name.as_str(), reference)?;
            files.insert(name.to_string(), Zeroizing::new(value.as_bytes().to_vec()));
        }
        if let Some(path) = &self.shared.config.extra_ca_file {
            let certificates =
                std::fs::read(path).map_err(Error::io("read the extra CA file", path))?;
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

    async fn fetch(&self, workspace: &Workspace) -> Result<Option<CommitInfo>, Error> {
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
            return Context::of_image(image, &to);
        }
        let selection = Selection {
            source: workspace.source(),
            root: self.item.root.clone(),
            dockerfile: self.item.dockerfile_path.clone(),
        };
        blocking(move || selection.pack(&to)).await
    }

    async fn build(
        &self,
        workspace: &Workspace,
        context: &Context,
        secrets: SecretFiles,
        platform: &str,
    ) -> Result<Vec<BaseImage>, Error> {
        let socket = &self.shared.config.socket;
        let tokens = Tokens {
            registry: self.shared.config.registry.clone(),
            control_plane: Arc::clone(&self.shared.dependencies.control_plane),
        };
        let request = buildkit::Request {
            id: self.item.id.to_string(),
            context: context_file(workspace),
            dockerfile: context.dockerfile.clone(),
            tag: format!("{}:{}", self.item.repository, self.item.id),
            args: self.item.args.clone(),
            labels: self.labels(),
        };
        let mut progress = Progress::new(self.log.clone());
        let built = async {
            let session =
                Session::open(socket, request.id.clone(), secrets, Arc::new(tokens)).await?;
            buildkit::build(socket, &request, &session, &mut progress).await
        }
        .await;
        built.map_err(|error| {
            let step = progress.failed();
            diagnosis::of(error, step.as_ref(), self.subject(context), platform)
        })?;
        Ok(progress.bases().cloned().collect())
    }

    fn subject<'a>(&'a self, context: &'a Context) -> Subject<'a> {
        match &self.item.source {
            BuildSource::Image { image } => Subject::Image(image),
            _ => Subject::Dockerfile(&context.dockerfile_text),
        }
    }

    fn labels(&self) -> BTreeMap<String, String> {
        BTreeMap::from([
            (LABEL_BUILD.to_owned(), self.item.id.to_string()),
            (
                "railhead.service".to_owned(),
                self.item.service_id.to_string(),
            ),
            (
                "railhead.organization".to_owned(),
                self.item.organization_id.to_string(),
            ),
        ])
    }

    async fn push(
        &self,
        engine: &Engine,
        commit: Option<CommitInfo>,
        wanted: String,
        bases: &[BaseImage],
    ) -> Result<BuildResult, Error> {
        let tag = self.item.id.to_string();
        let name = format!("{}:{tag}", self.item.repository);
        let image = engine.image(&name).await?;
        if image.platform != wanted {
            return Err(Error::WrongArchitecture {
                found: format!("it is for {}", image.platform),
                wanted,
            });
        }
        self.log.line(Stream::Stdout, &format!("Pushing {name}"));
        let repository = self.repository(&name)?;
        let token = self.push_token(&name, repository, bases).await?;
        self.mount(bases, repository, &token).await;
        let digest = engine.push(&self.item.repository, &tag, &token).await?;
        failpoint::reach("image-pushed");
        Ok(BuildResult {
            digest,
            size: image.size,
            commit,
            source_digest: self.source_digest(bases),
        })
    }

    /// Of the image that was taken over.
    fn source_digest(&self, bases: &[BaseImage]) -> Option<String> {
        match &self.item.source {
            BuildSource::Image { .. } => bases.first().map(|base| base.digest.clone()),
            _ => None,
        }
    }

    /// The repository without the registry's host.
    fn repository(&self, image: &str) -> Result<&str, Error> {
        self.item
            .repository
            .strip_prefix(&self.shared.config.registry)
            .and_then(|rest| rest.strip_prefix('/'))
            .ok_or_else(|| Error::PushFailed {
                image: image.to_owned(),
                said: format!(
                    "this node's registry is {}; the agent's build.registry must be the control plane's registry.host",
                    self.shared.config.registry
                ),
            })
    }

    async fn push_token(
        &self,
        image: &str,
        repository: &str,
        bases: &[BaseImage],
    ) -> Result<RegistryToken, Error> {
        let request = RegistryTokenRequest {
            repository: repository.to_owned(),
            push: true,
            mount_from: bases
                .iter()
                .filter_map(|base| base.library().map(str::to_owned))
                .collect(),
        };
        let token = self
            .shared
            .dependencies
            .control_plane
            .registry_token(&request);
        token.await.map_err(|e| Error::PushFailed {
            image: image.to_owned(),
            said: format!("the control plane gave no token: {e}"),
        })
    }

    async fn mount(&self, bases: &[BaseImage], repository: &str, token: &RegistryToken) {
        for base in bases {
            let Some(library) = base.library() else {
                continue;
            };
            let registry = &self.shared.registry;
            let mounted = registry.mount(library, &base.digest, repository, &token.token);
            match mounted.await {
                Ok(layers) => tracing::debug!(?base, layers, "base layers are in place"),
                Err(error) => tracing::info!(?base, %error, "base layers are pushed instead"),
            }
        }
    }
}

fn context_file(workspace: &Workspace) -> std::path::PathBuf {
    workspace.file("context.tar")
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| Error::Engine(format!("work on the source ended early: {e}")))?
}

struct Tokens {
    registry: String,
    control_plane: Arc<dyn ControlPlane>,
}

#[async_trait]
impl TokenSource for Tokens {
    fn registry(&self) -> &str {
        &self.registry
    }

    async fn pull_token(&self, repository: &str) -> Result<RegistryToken, link::client::Error> {
        let request = RegistryTokenRequest {
            repository: repository.to_owned(),
            push: false,
            mount_from: Vec::new(),
        };
        self.control_plane.registry_token(&request).await
    }
}
