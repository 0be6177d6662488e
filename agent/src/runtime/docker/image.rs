//! Images: always by digest, so an image that is here is the right one and needs no registry.

use bollard::{
    Docker,
    auth::DockerCredentials,
    query_parameters::{CreateImageOptionsBuilder, RemoveImageOptionsBuilder},
};
use futures::TryStreamExt;

use super::{Error, failed, has_status, reason};
use crate::runtime::Image;

pub(super) async fn inspect(client: &Docker, image: &str) -> Result<Option<Image>, Error> {
    match client.inspect_image(image).await {
        Ok(found) => Ok(Some(Image {
            architecture: found.architecture.unwrap_or_default(),
            user: found
                .config
                .and_then(|config| config.user)
                .unwrap_or_default(),
        })),
        Err(error) if has_status(&error, 404) => Ok(None),
        Err(error) => Err(failed("inspect an image")(error)),
    }
}

pub(super) async fn pull(client: &Docker, image: &str, token: Option<&str>) -> Result<(), Error> {
    let (repository, digest) = image.split_once('@').ok_or_else(|| Error::Pull {
        image: image.to_owned(),
        reason: "it is not named by its digest".to_owned(),
    })?;
    let options = CreateImageOptionsBuilder::new()
        .from_image(repository)
        .tag(digest)
        .build();
    let credentials = token.map(|token| DockerCredentials {
        registrytoken: Some(token.to_owned()),
        ..DockerCredentials::default()
    });
    client
        .create_image(Some(options), None, credentials)
        .try_for_each(|_| async { Ok(()) })
        .await
        .map_err(|error| pull_error(image, &error))
}

/// The engine tells the registry's answer in words only.
fn pull_error(image: &str, error: &bollard::errors::Error) -> Error {
    let (image, reason) = (image.to_owned(), reason(error));
    if reason.contains("no matching manifest") {
        return Error::WrongArchitecture {
            image,
            has: "other platforms".to_owned(),
            needs: crate::runtime::architecture().to_owned(),
        };
    }
    if has_status(error, 404) || reason.contains("manifest unknown") || reason.contains("not found")
    {
        return Error::ImageMissing { image };
    }
    Error::Pull { image, reason }
}

pub(super) async fn remove(client: &Docker, image: &str) -> Result<(), Error> {
    let options = RemoveImageOptionsBuilder::new().build();
    match client.remove_image(image, Some(options), None).await {
        Ok(_) => Ok(()),
        Err(error) if has_status(&error, 404) => Ok(()),
        Err(error) => Err(failed("remove an image")(error)),
    }
}
