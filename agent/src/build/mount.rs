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

/// An image that a build began with, as it was looked up.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct BaseImage {
    /// With its registry, without its tag.
    name: String,
    /// `sha256:…`.
    pub digest: String,
}

impl BaseImage {
    /// From a step's name, such as `[build 1/4] FROM docker.io/library/python:3.11@sha256:…`.
    pub fn of_step(name: &str) -> Option<Self> {
        let (_, instruction) = name.strip_prefix('[')?.split_once("] ")?;
        let image = instruction.strip_prefix("FROM ")?;
        let image = image.split_whitespace().next()?;
        let (image, digest) = image.split_once('@')?;
        let name = match image.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => name,
            _ => image,
        };
        Some(Self {
            name: name.to_owned(),
            digest: digest.to_owned(),
        })
    }

    /// `library/…`, when it is one of the platform's own.
    pub fn library(&self) -> Option<&str> {
        self.name
            .strip_prefix("docker.io/")
            .filter(|repository| repository.starts_with("library/"))
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

    /// Takes the layers of an image of the library over into the repository `to`; says how many.
    pub async fn mount(
        &self,
        repository: &str,
        digest: &str,
        to: &str,
        token: &str,
    ) -> Result<usize, reqwest::Error> {
        let url = self.url(&format!("{repository}/manifests/{digest}"));
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
                .query(&[("mount", layer.digest.as_str()), ("from", repository)])
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
        let library = |name: &str| BaseImage::of_step(name)?.library().map(str::to_owned);
        let python = Some("library/python".to_owned());
        assert_eq!(
            library("[1/4] FROM docker.io/library/python:3.11-slim@sha256:ab"),
            python
        );
        assert_eq!(
            library("[build 1/2] FROM docker.io/library/python@sha256:ab"),
            python
        );
        for other in [
            "[1/4] FROM 10.96.0.1:5000/org_1/svc_1:latest@sha256:ab",
            "[1/4] FROM docker.io/someone/python:3@sha256:ab",
            "[1/4] FROM docker.io/library/python:3",
            "[2/4] RUN echo ] FROM docker.io/library/x@sha256:ab",
            "[internal] load metadata for docker.io/library/python:3",
        ] {
            assert_eq!(library(other), None, "{other}");
        }
        let other = BaseImage::of_step("[1/1] FROM r.example.com:5000/a/b@sha256:cd").unwrap();
        assert_eq!(other.digest, "sha256:cd");
        assert_eq!(other.name, "r.example.com:5000/a/b");
    }
}
