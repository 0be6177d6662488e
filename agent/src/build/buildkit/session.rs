//! The session that BuildKit calls back on: build secrets from memory, and registry tokens from
//! the control plane. The engine never sees a password and asks the token server nothing itself.

use std::{collections::BTreeMap, path::Path, pin::Pin, sync::Arc};

use async_trait::async_trait;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use bollard::{
    health::{
        HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse,
        health_check_response::ServingStatus,
        health_server::{Health, HealthServer},
    },
    moby::{
        buildkit::secrets::v1::{
            GetSecretRequest, GetSecretResponse,
            secrets_server::{Secrets, SecretsServer},
        },
        filesync::v1::{
            CredentialsRequest, CredentialsResponse, FetchTokenRequest, FetchTokenResponse,
            GetTokenAuthorityRequest, GetTokenAuthorityResponse, VerifyTokenAuthorityRequest,
            VerifyTokenAuthorityResponse,
            auth_server::{Auth, AuthServer},
        },
    },
};
use http_body_util::{BodyExt, Empty};
use hyper_util::{rt::TokioExecutor, service::TowerToHyperService};
use tokio_util::task::AbortOnDropHandle;
use tonic::{Request, Response, Status};
use zeroize::Zeroizing;

use protocol::join::RegistryToken;

use super::{Error, connection};

/// What is mounted for `RUN --mount=type=secret,id=…`, by id.
pub type SecretFiles = BTreeMap<String, Zeroizing<Vec<u8>>>;

/// Where registry tokens come from.
#[async_trait]
pub trait TokenSource: Send + Sync + 'static {
    /// The registry that tokens are for, `host:port`; other registries are asked anonymously.
    fn registry(&self) -> &str;
    /// A token that may pull from `repository`.
    async fn pull_token(&self, repository: &str) -> Result<RegistryToken, link::client::Error>;
}

/// An open session; it ends when dropped.
pub struct Session {
    id: String,
    _server: AbortOnDropHandle<()>,
}

const METHODS: [&str; 6] = [
    "/grpc.health.v1.Health/Check",
    "/moby.filesync.v1.Auth/Credentials",
    "/moby.filesync.v1.Auth/FetchToken",
    "/moby.filesync.v1.Auth/GetTokenAuthority",
    "/moby.filesync.v1.Auth/VerifyTokenAuthority",
    "/moby.buildkit.secrets.v1.Secrets/GetSecret",
];

impl Session {
    /// Opens a session under a name of its own: an engine may still hold that of a try that broke off.
    ///
    /// # Errors
    /// When the engine can't be reached or does not upgrade the connection.
    pub async fn open(
        socket: &Path,
        secrets: Arc<SecretFiles>,
        tokens: Arc<dyn TokenSource>,
    ) -> Result<Self, Error> {
        let fail = |doing| connection::failed(socket, doing);
        let authority = Ed25519KeyPair::generate()
            .map_err(|e| fail("get a session key")(format!("no random numbers: {e}").into()))?;
        let id = hex::encode(authority.public_key());
        let routes = tonic::service::Routes::new(HealthServer::new(Alive))
            .add_service(AuthServer::new(Tokens { authority, tokens }))
            .add_service(SecretsServer::new(Held(secrets)));
        let upgraded = upgrade(socket, &id).await?;
        let server = tokio::spawn(async move {
            let served = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(upgraded, TowerToHyperService::new(routes))
                .await;
            if let Err(error) = served {
                tracing::debug!(%error, "build session ended");
            }
        });
        Ok(Self {
            id,
            _server: AbortOnDropHandle::new(server),
        })
    }

    /// What the build names its session by.
    pub fn id(&self) -> &str {
        &self.id
    }
}

async fn upgrade(socket: &Path, id: &str) -> Result<hyper::upgrade::Upgraded, Error> {
    let fail = |doing| connection::failed(socket, doing);
    let mut request = http::Request::post("/session")
        .header(http::header::HOST, "docker")
        .header(http::header::CONNECTION, "Upgrade")
        .header(http::header::UPGRADE, "h2c")
        .header("X-Docker-Expose-Session-Uuid", id)
        .header("X-Docker-Expose-Session-Name", id)
        .header("X-Docker-Expose-Session-Sharedkey", id);
    for method in METHODS {
        request = request.header("X-Docker-Expose-Session-Grpc-Method", method);
    }
    let request = request
        .body(Empty::new().map_err(|never| match never {}).boxed_unsync())
        .map_err(|e| fail("take a session")(e.into()))?;
    let mut sender = connection::open(socket).await?;
    let answer = sender
        .send_request(request)
        .await
        .map_err(|e| fail("open a session")(e.into()))?;
    let answer = connection::expect_success(socket, answer).await?;
    hyper::upgrade::on(answer)
        .await
        .map_err(|e| fail("upgrade to a session")(e.into()))
}

struct Held(Arc<SecretFiles>);

#[async_trait]
impl Secrets for Held {
    async fn get_secret(
        &self,
        request: Request<GetSecretRequest>,
    ) -> Result<Response<GetSecretResponse>, Status> {
        let id = &request.get_ref().id;
        let Some(secret) = self.0.get(id) else {
            return Err(Status::not_found(format!(
                "no build secret \"{id}\": name it in build.secrets and set the variable"
            )));
        };
        Ok(Response::new(GetSecretResponse {
            data: secret.to_vec(),
        }))
    }
}

/// Answers as BuildKit's "token authority": the engine then takes tokens from here instead of
/// fetching them itself. It proves itself by an Ed25519 signature in NaCl's form, signature first.
struct Tokens {
    authority: Ed25519KeyPair,
    tokens: Arc<dyn TokenSource>,
}

impl Tokens {
    fn is_ours(&self, host: &str) -> bool {
        host == self.tokens.registry()
    }
}

#[async_trait]
impl Auth for Tokens {
    async fn credentials(
        &self,
        _: Request<CredentialsRequest>,
    ) -> Result<Response<CredentialsResponse>, Status> {
        Ok(Response::new(CredentialsResponse::default()))
    }

    async fn fetch_token(
        &self,
        request: Request<FetchTokenRequest>,
    ) -> Result<Response<FetchTokenResponse>, Status> {
        let request = request.into_inner();
        if !self.is_ours(&request.host) {
            return Err(Status::permission_denied(format!(
                "no token is held for {}",
                request.host
            )));
        }
        let repository = pulled_repository(&request.scopes).ok_or_else(|| {
            Status::permission_denied("a build may only pull one repository at a time")
        })?;
        let token = self
            .tokens
            .pull_token(repository)
            .await
            .map_err(|error| refusal(repository, &error))?;
        Ok(Response::new(FetchTokenResponse {
            token: token.token,
            expires_in: i64::try_from(token.expires_in_seconds).unwrap_or(60),
            issued_at: chrono::Utc::now().timestamp(),
        }))
    }

    async fn get_token_authority(
        &self,
        request: Request<GetTokenAuthorityRequest>,
    ) -> Result<Response<GetTokenAuthorityResponse>, Status> {
        if !self.is_ours(&request.get_ref().host) {
            return Err(Status::unavailable("another registry"));
        }
        Ok(Response::new(GetTokenAuthorityResponse {
            public_key: self.authority.public_key().as_ref().to_vec(),
        }))
    }

    async fn verify_token_authority(
        &self,
        request: Request<VerifyTokenAuthorityRequest>,
    ) -> Result<Response<VerifyTokenAuthorityResponse>, Status> {
        let request = request.into_inner();
        if !self.is_ours(&request.host) {
            return Err(Status::unavailable("another registry"));
        }
        let mut signed = self.authority.sign(&request.payload).as_ref().to_vec();
        signed.extend_from_slice(&request.payload);
        Ok(Response::new(VerifyTokenAuthorityResponse { signed }))
    }
}

/// The engine hands these words on; `diagnosis` tells the two apart by their code.
fn refusal(repository: &str, error: &link::client::Error) -> Status {
    let text = format!("{repository}: {error}");
    if error.is_passing() {
        Status::unavailable(text)
    } else {
        Status::permission_denied(text)
    }
}

/// The one repository of scopes such as `repository:library/python:pull`.
fn pulled_repository(scopes: &[String]) -> Option<&str> {
    let [scope] = scopes else { return None };
    scope
        .strip_prefix("repository:")?
        .strip_suffix(":pull")
        .filter(|name| !name.is_empty())
}

struct Alive;

#[async_trait]
impl Health for Alive {
    type WatchStream =
        Pin<Box<dyn futures::Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(
        &self,
        _: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        Ok(Response::new(HealthCheckResponse {
            status: ServingStatus::Serving.into(),
        }))
    }

    async fn list(
        &self,
        _: Request<HealthListRequest>,
    ) -> Result<Response<HealthListResponse>, Status> {
        Err(Status::unimplemented("one service, no list"))
    }

    async fn watch(
        &self,
        _: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("poll instead"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_single_pull_scope_names_a_repository() {
        let scopes = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            pulled_repository(&scopes(&["repository:library/python:pull"])),
            Some("library/python")
        );
        for bad in [
            &[][..],
            &["repository:a:pull,push"],
            &["repository:a:pull", "repository:b:pull"],
            &["registry:catalog:*"],
            &["repository::pull"],
        ] {
            assert_eq!(pulled_repository(&scopes(bad)), None, "{bad:?}");
        }
    }
}
