//! The control plane as a client of the registry: removes the images of deleted services.

use std::collections::BTreeSet;

use chrono::Utc;
use reqwest::{Method, Response, StatusCode, header};

use domain::id::{OrganizationId, ServiceId};

use super::{
    Issuer,
    scope::{Action, Repository, Scope},
};

/// Each kind of manifest that docker and BuildKit push: the digest asked for must be that of the
/// stored one, not of a conversion.
const MANIFESTS: &str = "application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json";

const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(30);

/// Why images could not be removed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The client could not be made.
    #[error("the registry client could not be made: {0}")]
    Setup(reqwest::Error),
    /// No answer, or a broken one.
    #[error("the registry did not answer {method} {path}: {source}")]
    Request {
        /// The method.
        method: Method,
        /// The path.
        path: String,
        /// Why.
        source: reqwest::Error,
    },
    /// An answer that is no success.
    #[error("the registry answered {method} {path} with {status}")]
    Status {
        /// The method.
        method: Method,
        /// The path.
        path: String,
        /// The status.
        status: StatusCode,
    },
    /// No token.
    #[error(transparent)]
    Token(#[from] super::Error),
}

/// The registry, as its owner sees it.
pub struct Registry {
    host: String,
    http: reqwest::Client,
}

impl Registry {
    /// For the registry at `host:port`, whose certificate is issued by `ca_pem`.
    ///
    /// # Errors
    /// When the certificate is none.
    pub fn new(host: &str, ca_pem: &str) -> Result<Self, Error> {
        let ca = reqwest::Certificate::from_pem(ca_pem.as_bytes()).map_err(Error::Setup)?;
        let http = reqwest::Client::builder()
            .tls_certs_only([ca])
            .timeout(TIMEOUT)
            .no_proxy()
            .build()
            .map_err(Error::Setup)?;
        Ok(Self {
            host: host.to_owned(),
            http,
        })
    }

    /// Removes every tag and manifest of a service. Done twice it does nothing more.
    ///
    /// # Errors
    /// When the registry can't be reached or refuses; what was removed stays removed.
    pub async fn delete_images(
        &self,
        issuer: &Issuer,
        organization: OrganizationId,
        service: ServiceId,
    ) -> Result<(), Error> {
        let repository = Repository::Service {
            organization,
            service,
        };
        let path = repository.to_string();
        let scope = Scope {
            repository,
            actions: BTreeSet::from([Action::Pull, Action::Delete]),
        };
        let token = issuer.issue("control-plane", &[scope], Utc::now())?.token;
        let mut digests = BTreeSet::new();
        for tag in self.tags(&path, &token).await? {
            digests.extend(self.digest(&path, &tag, &token).await?);
        }
        for digest in digests {
            let path = format!("{path}/manifests/{digest}");
            self.ask(Method::DELETE, &path, &token).await?;
        }
        Ok(())
    }

    async fn tags(&self, repository: &str, token: &str) -> Result<Vec<String>, Error> {
        #[derive(serde::Deserialize)]
        struct Tags {
            tags: Option<Vec<String>>,
        }
        let path = format!("{repository}/tags/list");
        let Some(answer) = self.ask(Method::GET, &path, token).await? else {
            return Ok(Vec::new());
        };
        let tags: Tags = answer.json().await.map_err(|source| Error::Request {
            method: Method::GET,
            path,
            source,
        })?;
        Ok(tags.tags.unwrap_or_default())
    }

    async fn digest(
        &self,
        repository: &str,
        tag: &str,
        token: &str,
    ) -> Result<Option<String>, Error> {
        let path = format!("{repository}/manifests/{tag}");
        let answer = self.ask(Method::HEAD, &path, token).await?;
        let digest = answer.as_ref().and_then(|answer| {
            let value = answer.headers().get("docker-content-digest")?;
            value.to_str().ok()
        });
        Ok(digest.map(str::to_owned))
    }

    /// `None` when there is no such thing.
    async fn ask(
        &self,
        method: Method,
        path: &str,
        token: &str,
    ) -> Result<Option<Response>, Error> {
        let answer = self
            .http
            .request(method.clone(), format!("https://{}/v2/{path}", self.host))
            .bearer_auth(token)
            .header(header::ACCEPT, MANIFESTS)
            .send()
            .await
            .map_err(|source| Error::Request {
                method: method.clone(),
                path: path.to_owned(),
                source,
            })?;
        match answer.status() {
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_success() => Ok(Some(answer)),
            status => Err(Error::Status {
                method,
                path: path.to_owned(),
                status,
            }),
        }
    }
}
