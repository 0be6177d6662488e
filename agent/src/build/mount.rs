//! Takes the layers of base images over into the service's repository, inside the registry, before
//! the push: the engine then finds them there and neither compresses nor sends them again. It only
//! saves work; what can't be taken over is pushed as usual.

use std::time::Duration;

use reqwest::{StatusCode, header};
use serde::Deserialize;

const TIMEOUT: Duration = Duration::from_secs(20);

/// Kinds of manifests that list layers.
const MANIFESTS: &str = "application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.oci.image.manifest.v1+json";

/// A base image of the platform, as a build resolved it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct BaseImage {
    /// `library/…`.
    pub repository: String,
    digest: String,
}

impl BaseImage {
    /// From a step's name, such as `[build 1/4] FROM docker.io/library/python:3.11@sha256:…`.
    pub fn of_step(name: &str) -> Option<Self> {
        let (_, instruction) = name.strip_prefix('[')?.split_once("] ")?;
        let image = instruction.strip_prefix("FROM docker.io/")?;
        let image = image.split_whitespace().next()?;
        let (name, digest) = image.split_once('@')?;
        let repository = name
            .split_once(':')
            .map_or(name, |(repository, _)| repository);
        repository.starts_with("library/").then(|| Self {
            repository: repository.to_owned(),
            digest: digest.to_owned(),
        })
    }
}

/// A client of the platform's registry.
#[derive(Debug, Clone)]
pub struct Registry {
    host: String,
    http: reqwest::Client,
}

#[derive(Deserialize)]
struct Manifest {
    #[serde(default)]
    layers: Vec<Layer>,
}

#[derive(Deserialize)]
struct Layer {
    digest: String,
}

impl Registry {
    /// For `host:port`, whose certificate is issued by the platform's CA (PEM).
    pub fn new(host: &str, ca_pem: &str) -> Result<Self, reqwest::Error> {
        let ca = reqwest::Certificate::from_pem(ca_pem.as_bytes())?;
        let http = reqwest::Client::builder()
            .tls_certs_only([ca])
            .timeout(TIMEOUT)
            .no_proxy()
            .build()?;
        Ok(Self {
            host: host.to_owned(),
            http,
        })
    }

    /// Takes the layers of `base` over into the repository `to`; says how many.
    pub async fn mount(
        &self,
        base: &BaseImage,
        to: &str,
        token: &str,
    ) -> Result<usize, reqwest::Error> {
        let url = self.url(&format!("{}/manifests/{}", base.repository, base.digest));
        let answer = self
            .http
            .get(url)
            .bearer_auth(token)
            .header(header::ACCEPT, MANIFESTS)
            .send()
            .await?
            .error_for_status()?;
        let manifest: Manifest = answer.json().await?;
        let mut mounted = 0;
        for layer in &manifest.layers {
            let answer = self
                .http
                .post(self.url(&format!("{to}/blobs/uploads/")))
                .query(&[("mount", &layer.digest), ("from", &base.repository)])
                .bearer_auth(token)
                .header(header::CONTENT_LENGTH, 0)
                .send()
                .await?
                .error_for_status()?;
            mounted += usize::from(answer.status() == StatusCode::CREATED);
        }
        Ok(mounted)
    }

    fn url(&self, path: &str) -> String {
        format!("https://{}/v2/{path}", self.host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_images_are_told_from_other_images() {
        let base = |name: &str| BaseImage::of_step(name).map(|base| base.repository);
        let python = Some("library/python".to_owned());
        assert_eq!(
            base("[1/4] FROM docker.io/library/python:3.11-slim@sha256:ab"),
            python
        );
        assert_eq!(
            base("[build 1/2] FROM docker.io/library/python@sha256:ab"),
            python
        );
        for other in [
            "[1/4] FROM 10.96.0.1:5000/org_1/svc_1:latest@sha256:ab",
            "[1/4] FROM docker.io/someone/python:3@sha256:ab",
            "[1/4] FROM docker.io/library/python:3",
            "[2/4] RUN echo ] FROM docker.io/library/x@sha256:ab",
            "[internal] load metadata for docker.io/library/python:3",
        ] {
            assert_eq!(base(other), None, "{other}");
        }
    }
}
