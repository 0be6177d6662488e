//! Images: always by digest, so an image that is here is the right one and needs no registry.

use std::{pin::pin, time::Duration};

use bollard::{
    Docker,
    auth::DockerCredentials,
    query_parameters::{CreateImageOptionsBuilder, RemoveImageOptionsBuilder},
};
use futures::{Stream, StreamExt};
use tokio::time::timeout;

use super::{Error, failed, has_status, reason};
use crate::runtime::Image;

/// So long the engine may say nothing while it pulls: it tells of each piece that comes. A registry that hangs must not
/// keep an instance, and the pulls of others, for good.
const SILENCE: Duration = Duration::from_secs(300);

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
    let progress = client.create_image(Some(options), None, credentials);
    match to_its_end(progress).await {
        Some(ended) => ended.map_err(|error| pull_error(image, &error)),
        None => Err(Error::Pull {
            image: image.to_owned(),
            reason: format!("nothing has come for {} s", SILENCE.as_secs()),
        }),
    }
}

/// None when it is silent for too long.
async fn to_its_end<T, E>(progress: impl Stream<Item = Result<T, E>>) -> Option<Result<(), E>> {
    let mut progress = pin!(progress);
    loop {
        match timeout(SILENCE, progress.next()).await.ok()? {
            Some(Ok(_)) => {}
            Some(Err(error)) => return Some(Err(error)),
            None => return Some(Ok(())),
        }
    }
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

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::*;

    fn pieces(every: Duration, count: usize) -> impl Stream<Item = Result<(), &'static str>> {
        let piece = move |number| async move {
            tokio::time::sleep(every).await;
            (number < count).then_some((Ok(()), number + 1))
        };
        stream::unfold(0, piece)
    }

    #[tokio::test(start_paused = true)]
    async fn a_pull_may_take_long_but_not_be_silent_for_long() {
        let slow = pieces(SILENCE / 2, 20);
        assert_eq!(to_its_end(slow).await, Some(Ok(())));
        let silent = pieces(SILENCE / 2, 3).chain(stream::pending());
        assert_eq!(to_its_end(silent).await, None);
        let broken = pieces(SILENCE / 2, 3).chain(stream::iter([Err("away")]));
        assert_eq!(to_its_end(broken).await, Some(Err("away")));
    }
}
