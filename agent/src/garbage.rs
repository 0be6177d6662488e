//! What may go: networks of environments without instances, and images that we pulled and nothing
//! refers to. Images that someone else brought here are not ours to remove.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use chrono::{DateTime, Utc};
use domain::id::ServiceId;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::{
    config, disk,
    network::Networks,
    reconcile::Observed,
    runtime::{self, Runtime},
};

const INTERVAL: Duration = Duration::from_secs(20);

/// The images that the agent pulled, remembered on disk.
#[derive(Debug)]
pub struct Images {
    path: PathBuf,
    pulled: Mutex<Pulled>,
    /// One at a time, so that the newest content is the last one written.
    writing: tokio::sync::Mutex<()>,
}

type Pulled = BTreeMap<String, Image>;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Image {
    service: ServiceId,
    used_at: DateTime<Utc>,
}

impl Images {
    /// Reads what earlier runs pulled.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn load(path: PathBuf) -> Result<Self, disk::Error> {
        let pulled = Mutex::new(disk::read(&path)?.unwrap_or_default());
        Ok(Self {
            path,
            pulled,
            writing: tokio::sync::Mutex::default(),
        })
    }

    /// Remembers an image before it is pulled.
    ///
    /// # Errors
    /// When it can't be written.
    pub async fn note_pull(
        &self,
        image: &str,
        service: ServiceId,
        now: DateTime<Utc>,
    ) -> Result<(), disk::Error> {
        let used = Image {
            service,
            used_at: now,
        };
        self.pulled().insert(image.to_owned(), used);
        self.write().await
    }

    /// With an image here.
    #[must_use]
    pub fn services(&self) -> BTreeSet<ServiceId> {
        self.pulled().values().map(|image| image.service).collect()
    }

    fn note_uses(&self, observed: &Observed, now: DateTime<Utc>) {
        for (image, pulled) in self.pulled().iter_mut() {
            // A clock that was ahead must not keep an image until then.
            if observed.images.contains(image) || pulled.used_at > now {
                pulled.used_at = now;
            }
        }
    }

    async fn forget(&self, image: &str) -> Result<(), disk::Error> {
        self.pulled().remove(image);
        self.write().await
    }

    async fn write(&self) -> Result<(), disk::Error> {
        let _turn = self.writing.lock().await;
        let pulled = self.pulled().clone();
        disk::write(&self.path, &pulled).await
    }

    fn pulled(&self) -> MutexGuard<'_, Pulled> {
        self.pulled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Cleans up from time to time, until the task is dropped.
pub async fn collect(
    runtime: Arc<dyn Runtime>,
    networks: Arc<Networks>,
    images: Arc<Images>,
    settings: config::Garbage,
    mut observed: watch::Receiver<Arc<Observed>>,
) {
    let mut ticks = tokio::time::interval(INTERVAL);
    loop {
        ticks.tick().await;
        // As soon as that is known: the control plane waits for the first look to learn what the node keeps.
        let complete = observed.wait_for(|observed| observed.complete).await;
        let Ok(observed) = complete.map(|observed| Arc::clone(&observed)) else {
            return;
        };
        if let Err(error) = networks.remove_unused(&observed.environments).await {
            tracing::warn!(%error, "unused networks stay for now");
        }
        remove_images(runtime.as_ref(), &images, &settings, &observed).await;
    }
}

async fn remove_images(
    runtime: &dyn Runtime,
    images: &Images,
    settings: &config::Garbage,
    observed: &Observed,
) {
    let now = Utc::now();
    images.note_uses(observed, now);
    let unused = plan_removals(&images.pulled(), observed, settings, now);
    for image in unused {
        match remove_image(runtime, images, &image).await {
            Ok(()) => tracing::info!(%image, "removed an image that nothing refers to"),
            Err(error) => tracing::warn!(%image, %error, "an unused image stays for now"),
        }
    }
}

async fn remove_image(runtime: &dyn Runtime, images: &Images, image: &str) -> Result<(), Error> {
    runtime.remove_image(image).await?;
    Ok(images.forget(image).await?)
}

/// Why an image stays.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Runtime(#[from] runtime::Error),
    #[error(transparent)]
    Disk(#[from] disk::Error),
}

/// Of a service that is here, the newest few stay for a quick rollback; of one that is gone, none
/// stay beyond the grace.
fn plan_removals(
    pulled: &Pulled,
    observed: &Observed,
    settings: &config::Garbage,
    now: DateTime<Utc>,
) -> Vec<String> {
    let mut unused: Vec<(&String, &Image)> = pulled
        .iter()
        .filter(|(image, _)| !observed.images.contains(*image))
        .collect();
    unused.sort_by_key(|(_, image)| std::cmp::Reverse(image.used_at));
    let mut kept: BTreeMap<ServiceId, usize> = BTreeMap::new();
    let removable = |(name, image): (&String, &Image)| {
        let rested = (now - image.used_at)
            .to_std()
            .is_ok_and(|age| age >= settings.image_grace.duration());
        let newer = kept.entry(image.service).or_default();
        *newer += 1;
        let spare = !observed.services.contains(&image.service) || *newer > settings.keep_images;
        (rested && spare).then(|| name.clone())
    };
    unused.into_iter().filter_map(removable).collect()
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    fn pulled(images: &[(&str, ServiceId, i64)], now: DateTime<Utc>) -> Pulled {
        images
            .iter()
            .map(|(name, service, minutes)| {
                let used_at = now - TimeDelta::minutes(*minutes);
                let image = Image {
                    service: *service,
                    used_at,
                };
                ((*name).to_owned(), image)
            })
            .collect()
    }

    #[test]
    fn keeps_what_is_used_the_newest_few_of_a_service_and_what_was_just_let_go() {
        let (here, gone, now) = (ServiceId::new(), ServiceId::new(), Utc::now());
        let pulled = pulled(
            &[
                ("used", here, 90),
                ("a", here, 10),
                ("b", here, 20),
                ("c", here, 30),
                ("left", gone, 10),
                ("just-left", gone, 0),
            ],
            now,
        );
        let observed = Observed {
            images: BTreeSet::from(["used".to_owned()]),
            services: BTreeSet::from([here]),
            ..Observed::default()
        };
        let settings = config::Garbage {
            keep_images: 2,
            ..config::Garbage::default()
        };
        let removals = plan_removals(&pulled, &observed, &settings, now);
        assert_eq!(removals, ["left", "c"]);
    }
}
