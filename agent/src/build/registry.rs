//! What the agent itself asks of the platform's registry: whether an image is there, and to take the layers of
//! base images over into a service's repository before the push. The engine then finds them there and neither
//! compresses nor sends them again; what can't be taken over is pushed as usual.

use std::time::Duration;

use reqwest::{StatusCode, header};
use serde::Deserialize;

const TIMEOUT: Duration = Duration::from_secs(20);

/// Kinds of manifests that list layers.
const MANIFESTS: &str = "application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.oci.image.manifest.v1+json";
/// Kinds that list manifests.
const INDEXES: &str = "application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.oci.image.index.v1+json";

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

    /// Whether it has an image; only its own 404 is a no.
    pub async fn has(
        &self,
        repository: &str,
        reference: &str,
        token: &str,
    ) -> Result<bool, reqwest::Error> {
        let answer = self
            .http
            .head(self.url(&format!("{repository}/manifests/{reference}")))
            .bearer_auth(token)
            .header(header::ACCEPT, format!("{MANIFESTS}, {INDEXES}"))
            .send()
            .await?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Ok(false);
        }
        answer.error_for_status().map(|_| true)
    }

    fn url(&self, path: &str) -> String {
        format!("https://{}/v2/{path}", self.host)
    }
}
