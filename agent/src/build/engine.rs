//! What the build engine is asked beside building: push, look, clean.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use bollard::{
    API_DEFAULT_VERSION, Docker,
    auth::DockerCredentials,
    query_parameters::{
        ListImagesOptionsBuilder, PruneBuildOptionsBuilder, PushImageOptionsBuilder,
        RemoveImageOptionsBuilder,
    },
};
use futures::TryStreamExt;

use domain::quantity::Bytes;
use protocol::join::RegistryToken;

use super::{buildkit, error::Error};

/// On every image of ours; the value is the build's id.
pub const LABEL_BUILD: &str = "railhead.build";

const TIMEOUT_SECONDS: u64 = 120;

/// A connection to the build engine.
pub struct Engine {
    socket: PathBuf,
    docker: Docker,
}

/// An image in the engine.
#[derive(Debug, PartialEq, Eq)]
pub struct Image {
    /// Uncompressed.
    pub size: Bytes,
    /// `linux/amd64`.
    pub platform: String,
}

impl Engine {
    /// Connects, and agrees on an API version.
    pub async fn connect(socket: &Path) -> Result<Self, Error> {
        let docker = Docker::connect_with_unix(
            &socket.to_string_lossy(),
            TIMEOUT_SECONDS,
            API_DEFAULT_VERSION,
        )
        .map_err(failed)?;
        let docker = docker.negotiate_version().await.map_err(failed)?;
        Ok(Self {
            socket: socket.to_owned(),
            docker,
        })
    }

    /// What the engine builds for.
    pub async fn platform(&self) -> Result<String, Error> {
        let version = self.docker.version().await.map_err(failed)?;
        let (os, arch) = (version.os, version.arch);
        Ok(platform(os.as_deref(), arch.as_deref()))
    }

    /// Looks at an image by name.
    pub async fn image(&self, name: &str) -> Result<Image, Error> {
        let image = self.docker.inspect_image(name).await.map_err(failed)?;
        Ok(Image {
            size: Bytes(u64::try_from(image.size.unwrap_or_default()).unwrap_or_default()),
            platform: platform(image.os.as_deref(), image.architecture.as_deref()),
        })
    }

    /// Pushes `repository:tag`; the digest as the registry knows it.
    pub async fn push(
        &self,
        repository: &str,
        tag: &str,
        token: &RegistryToken,
    ) -> Result<String, Error> {
        let image = format!("{repository}:{tag}");
        let refused = |e: bollard::errors::Error| not_pushed(&image, e.to_string());
        let options = PushImageOptionsBuilder::new().tag(tag).build();
        self.docker
            .push_image(repository, Some(options), Some(credentials(token)))
            .try_for_each(|_| async { Ok(()) })
            .await
            .map_err(refused)?;
        let found = self
            .docker
            .inspect_registry_image(&image, Some(credentials(token)))
            .await
            .map_err(refused)?;
        let digest = found.descriptor.digest;
        digest.ok_or_else(|| not_pushed(&image, "the registry names no digest".to_owned()))
    }

    /// Removes our images (their layers stay as cache), then cache beyond the budget, the longest
    /// unused first. Images without our label are never touched.
    pub async fn clean(&self, budget: Bytes) -> Result<(), Error> {
        self.remove_images().await?;
        for unused_for in ["48h", "1h", "0s"] {
            let used = buildkit::cache_bytes(&self.socket)
                .await
                .map_err(|e| Error::Engine(e.to_string()))?;
            if used <= budget.0 {
                return Ok(());
            }
            let filters = HashMap::from([("until", vec![unused_for])]);
            let options = PruneBuildOptionsBuilder::new()
                .all(true)
                .filters(&filters)
                .build();
            let pruned = self
                .docker
                .prune_build(Some(options))
                .await
                .map_err(failed)?;
            let reclaimed = pruned.space_reclaimed.unwrap_or_default();
            tracing::info!(
                reclaimed_bytes = reclaimed,
                unused_for,
                "build cache cleaned"
            );
        }
        Ok(())
    }

    async fn remove_images(&self) -> Result<(), Error> {
        let filters = HashMap::from([("label", vec![LABEL_BUILD])]);
        let options = ListImagesOptionsBuilder::new().filters(&filters).build();
        let images = self
            .docker
            .list_images(Some(options))
            .await
            .map_err(failed)?;
        for image in images {
            let options = RemoveImageOptionsBuilder::new().force(true).build();
            self.docker
                .remove_image(&image.id, Some(options), None)
                .await
                .map_err(failed)?;
        }
        Ok(())
    }
}

fn platform(os: Option<&str>, architecture: Option<&str>) -> String {
    format!(
        "{}/{}",
        os.unwrap_or("unknown"),
        architecture.unwrap_or("unknown")
    )
}

fn credentials(token: &RegistryToken) -> DockerCredentials {
    DockerCredentials {
        registrytoken: Some(token.token.clone()),
        ..DockerCredentials::default()
    }
}

/// The registry's own words, as the engine hands them on.
fn not_pushed(image: &str, said: String) -> Error {
    const REFUSED: [&str; 2] = ["unauthorized", "denied"];
    let image = image.to_owned();
    let text = said.to_lowercase();
    if REFUSED.iter().any(|word| text.contains(word)) {
        Error::PushRefused { image, said }
    } else {
        Error::PushFailed { image, said }
    }
}

fn failed(error: bollard::errors::Error) -> Error {
    match error {
        bollard::errors::Error::DockerResponseServerError {
            status_code: 400..=499,
            message,
        } => Error::EngineRefused(message),
        away => Error::Engine(away.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let answered = |status_code| {
            failed(bollard::errors::Error::DockerResponseServerError {
                status_code,
                message: "no".to_owned(),
            })
        };
        assert!(answered(500).is_passing());
        assert!(!answered(404).is_passing());
        for (said, is_passing) in [
            ("unauthorized: authentication required", false),
            ("denied: requested access to the resource is denied", false),
            ("error reading a body from connection", true),
            (
                "received unexpected HTTP status: 503 Service Unavailable",
                true,
            ),
            ("dial tcp 10.96.0.1:5000: connect: connection refused", true),
        ] {
            let error = not_pushed("r/x:1", said.to_owned());
            assert_eq!(error.is_passing(), is_passing, "{said}");
        }
    }
}
