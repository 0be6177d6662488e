//! One try to make the image, and what the platform's registry says when an image was not there for it.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use domain::image::ImageReference;
use link::client;
use protocol::{
    item::BuildSource,
    join::{RegistryToken, RegistryTokenRequest},
};

use super::{Job, context_file};
use crate::build::{
    ControlPlane,
    base_image::{self, BaseImage},
    buildkit::{self, FailedStep, Progress, SecretFiles, Session, TokenSource},
    context::Context,
    diagnosis::{self, Subject},
    engine::LABEL_BUILD,
    error::Error,
    lookup::Standing,
    workspace::Workspace,
};

impl Job {
    /// The images that it began with.
    pub(super) async fn build(
        &self,
        workspace: &Workspace,
        context: &Context,
        secrets: &Arc<SecretFiles>,
        platform: &str,
    ) -> Result<Vec<BaseImage>, Error> {
        let mut progress = Progress::new(self.log.clone());
        let request = self.request(workspace, context);
        let Err(error) = self.ask_engine(&request, secrets, &mut progress).await else {
            return Ok(progress.bases().cloned().collect());
        };
        let step = progress.failed();
        let standing = self.standing(step.as_ref()).await;
        let subject = self.subject(context);
        Err(diagnosis::of(
            error,
            step.as_ref(),
            subject,
            platform,
            &standing,
        ))
    }

    async fn ask_engine(
        &self,
        request: &buildkit::Request,
        secrets: &Arc<SecretFiles>,
        progress: &mut Progress,
    ) -> Result<(), buildkit::Error> {
        let socket = &self.shared.config.socket;
        let tokens = Arc::new(Tokens {
            registry: self.shared.config.registry.clone(),
            control_plane: Arc::clone(&self.shared.dependencies.control_plane),
        });
        let session = Session::open(socket, Arc::clone(secrets), tokens).await?;
        buildkit::build(socket, request, &session, progress).await
    }

    fn request(&self, workspace: &Workspace, context: &Context) -> buildkit::Request {
        buildkit::Request {
            id: self.item.id.to_string(),
            context: context_file(workspace),
            dockerfile: context.dockerfile.clone(),
            tag: format!("{}:{}", self.item.repository, self.item.id),
            args: self.item.args.clone(),
            labels: self.labels(),
        }
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

    /// What the platform's registry itself says of the image that a step looked up.
    async fn standing(&self, step: Option<&FailedStep>) -> Standing {
        let image = match (&self.item.source, step) {
            (BuildSource::Image { image }, _) => Some(image.clone()),
            (_, Some(step)) => base_image::looked_up(&step.name),
            (_, None) => None,
        };
        let registry = &self.shared.config.registry;
        match image.filter(|image| image.is_official() || image.registry() == registry) {
            Some(image) => self.ask_registry(&image).await,
            None => Standing::Elsewhere,
        }
    }

    async fn ask_registry(&self, image: &ImageReference) -> Standing {
        let repository = image.repository();
        let control_plane = &*self.shared.dependencies.control_plane;
        let token = match pull_token(control_plane, repository).await {
            Ok(token) => token.token,
            Err(error) if error.is_passing() => {
                return Standing::Away(format!("the control plane gave no token: {error}"));
            }
            Err(_) => return Standing::Elsewhere,
        };
        let registry = &self.shared.registry;
        match registry.has(repository, image.reference(), &token).await {
            Ok(true) => Standing::Has,
            Ok(false) => Standing::Lacks,
            Err(error)
                if error
                    .status()
                    .is_some_and(|status| status.is_client_error()) =>
            {
                Standing::Elsewhere
            }
            Err(error) => Standing::Away(client::chain(&error)),
        }
    }
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

    async fn pull_token(&self, repository: &str) -> Result<RegistryToken, client::Error> {
        pull_token(&*self.control_plane, repository).await
    }
}

async fn pull_token(
    control_plane: &dyn ControlPlane,
    repository: &str,
) -> Result<RegistryToken, client::Error> {
    let request = RegistryTokenRequest {
        repository: repository.to_owned(),
        push: false,
        mount_from: Vec::new(),
    };
    control_plane.registry_token(&request).await
}
