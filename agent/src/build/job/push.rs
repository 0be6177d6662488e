//! One try to bring the image into the registry.

use protocol::{
    join::{RegistryToken, RegistryTokenRequest},
    log::Stream,
};

use domain::quantity::Bytes;

use super::Job;
use crate::build::{base_image::BaseImage, engine::Engine, error::Error};

/// An image in the registry.
pub(super) struct Pushed {
    pub digest: String,
    /// Uncompressed.
    pub size: Bytes,
}

impl Job {
    pub(super) async fn push(
        &self,
        engine: &Engine,
        wanted: &str,
        bases: &[BaseImage],
    ) -> Result<Pushed, Error> {
        let tag = self.item.id.to_string();
        let name = format!("{}:{tag}", self.item.repository);
        let image = engine.image(&name).await?;
        if image.platform != wanted {
            return Err(Error::WrongArchitecture {
                found: format!("it is for {}", image.platform),
                wanted: wanted.to_owned(),
            });
        }
        self.log.line(Stream::Stdout, &format!("Pushing {name}"));
        let repository = self.repository(&name)?;
        let token = self.push_token(&name, repository, bases).await?;
        self.mount(bases, repository, &token).await;
        let digest = engine.push(&self.item.repository, &tag, &token).await?;
        failpoint::reach("image-pushed");
        Ok(Pushed {
            digest,
            size: image.size,
        })
    }

    /// The repository without the registry's host.
    fn repository(&self, image: &str) -> Result<&str, Error> {
        self.item
            .repository
            .strip_prefix(&self.shared.config.registry)
            .and_then(|rest| rest.strip_prefix('/'))
            .ok_or_else(|| Error::PushRefused {
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
        token.await.map_err(|error| {
            let image = image.to_owned();
            let said = format!("the control plane gave no token: {error}");
            if error.is_passing() {
                Error::PushFailed { image, said }
            } else {
                Error::PushRefused { image, said }
            }
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
