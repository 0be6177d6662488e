//! What a service has on the platform, to be compared before and after: nothing may be left half done.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use domain::id::ServiceId;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::command::succeed;

use super::{Platform, text};

/// Everything of a service that can be seen from outside.
#[derive(Debug, Default)]
pub struct Traces {
    /// Instances that have not ended, by id.
    pub instances: Vec<String>,
    /// Addresses of its containers.
    pub containers: Vec<String>,
    /// Images that builds of anybody left in the build engines.
    pub images: Vec<String>,
    /// Folders of builds of anybody.
    pub folders: Vec<PathBuf>,
}

impl Traces {
    /// What is there that was not before, or the other way round. Builds of others that have ended since are none of it.
    pub fn ensure_nothing_else_than(&self, before: &Self) -> Result<()> {
        let same = self.instances == before.instances && self.containers == before.containers;
        let old_images = self.images.iter().all(|one| before.images.contains(one));
        let old_folders = self.folders.iter().all(|one| before.folders.contains(one));
        ensure!(
            same && old_images && old_folders,
            "was {before:#?}\nis {self:#?}"
        );
        Ok(())
    }
}

impl Platform {
    /// What there is of a service now.
    pub async fn traces(&self, service: ServiceId) -> Result<Traces> {
        let mut containers = self.container_addresses(service).await?;
        containers.sort();
        Ok(Traces {
            instances: self.instances(service).await?,
            containers,
            images: self.built_images().await?,
            folders: self.build_folders()?,
        })
    }

    async fn instances(&self, service: ServiceId) -> Result<Vec<String>> {
        let path = format!("/v1/services/{service}/instances");
        let mut ids = Vec::new();
        for instance in self.client.list::<Value>(&path).await? {
            if instance["state"] != "stopped" {
                ids.push(text(&instance, "id")?.to_owned());
            }
        }
        ids.sort();
        Ok(ids)
    }

    async fn built_images(&self) -> Result<Vec<String>> {
        let mut images = Vec::new();
        for region in self.status.regions.values() {
            let filter = json!({ "label": ["railhead.build"] }).to_string();
            let mut curl = Command::new("curl");
            curl.args([
                "-sS",
                "--get",
                "http://engine/images/json",
                "--data-urlencode",
            ])
            .arg(format!("filters={filter}"))
            .arg("--unix-socket")
            .arg(&region.build_socket);
            let found: Vec<Value> = serde_json::from_str(&succeed(&mut curl).await?.stdout)?;
            for image in &found {
                images.push(text(image, "Id")?.to_owned());
            }
        }
        Ok(images)
    }

    fn build_folders(&self) -> Result<Vec<PathBuf>> {
        let data = self.data()?;
        let mut folders = Vec::new();
        for region in self.status.regions.keys() {
            let work = data.join(region).join("build-sources/work");
            for entry in std::fs::read_dir(&work).with_context(|| work.display().to_string())? {
                folders.push(entry?.path());
            }
        }
        Ok(folders)
    }

    /// Where the platform keeps its data.
    pub fn data(&self) -> Result<PathBuf> {
        let parent = self.status.ca_file.parent();
        Ok(parent.context("the CA file is in no folder")?.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_have_tidied_up_is_no_trace_and_what_a_build_leaves_is() {
        let with = |folders: &[&str]| Traces {
            folders: folders.iter().map(PathBuf::from).collect(),
            ..Traces::default()
        };
        let before = with(&["another"]);
        assert!(with(&[]).ensure_nothing_else_than(&before).is_ok());
        assert!(with(&["ours"]).ensure_nothing_else_than(&before).is_err());
        let gone = Traces {
            containers: vec!["10.112.0.2".to_owned()],
            ..Traces::default()
        };
        assert!(with(&[]).ensure_nothing_else_than(&gone).is_err());
    }
}
