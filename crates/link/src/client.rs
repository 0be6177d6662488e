//! Requests to the control plane's node API: HTTP/2 over mTLS, each with a limit of time and size.

use std::{path::Path, time::Duration};

use domain::id::ArchiveId;
use protocol::{
    PROTOCOL, PROTOCOL_HEADER, RETRY_AFTER_MS_HEADER,
    join::{RegistryToken, RegistryTokenRequest},
    log::LogBatch,
    report::{Report, ReportAnswer},
};
use reqwest::{Response, StatusCode, Url};
use serde::{
    Deserialize, Serialize,
    de::{DeserializeOwned, IgnoredAny},
};
use sha2::{Digest as _, Sha256};
use tokio::{fs::File, io::AsyncWriteExt as _};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two pieces of an answer.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// A line that is dead without saying so is noticed after about two of these.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// Whatever the control plane says, a node asks again after this long.
const TURN_MAX: Duration = Duration::from_secs(60);

/// Why a request came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The HTTP client can't be made.
    #[error("the client for the control plane can't be made: {0}")]
    Client(#[source] reqwest::Error),
    /// The path does not fit the base URL.
    #[error("{base}{path} is no URL")]
    Url {
        /// Of the control plane.
        base: String,
        /// Of the request.
        path: String,
    },
    /// No answer, or an answer that broke off.
    #[error("{url} can't be reached: {}", chain(source))]
    Unreachable {
        /// What was asked.
        url: String,
        /// Why.
        source: reqwest::Error,
    },
    /// One of the two is not of the other's platform.
    #[error(
        "{url} and this node are not of one platform ({reason}): check control_plane; to join another platform, empty \
         state_dir and use a new token of `railhead node token`"
    )]
    ForeignCertificate {
        /// What was asked.
        url: String,
        /// What TLS says.
        reason: rustls::Error,
    },
    /// An answer that says no.
    #[error("{url} answered {status}{}: {detail}", code.as_deref().map(|code| format!(" ({code})")).unwrap_or_default())]
    Refused {
        /// What was asked.
        url: String,
        /// The status.
        status: StatusCode,
        /// The problem's stable code, if there is one.
        code: Option<String>,
        /// What it says.
        detail: String,
        /// When to come again, where it said that.
        turn: Option<Duration>,
    },
    /// An answer in another shape than agreed.
    #[error("{url} answered something unexpected: {source}")]
    Shape {
        /// What was asked.
        url: String,
        /// What the parser says.
        source: serde_json::Error,
    },
    /// More than is taken.
    #[error("{url} answered with more than {limit} bytes")]
    TooLarge {
        /// What was asked.
        url: String,
        /// What is taken.
        limit: u64,
    },
    /// Other bytes than announced.
    #[error("{url} sent bytes with SHA-256 {found}, expected {expected}")]
    Checksum {
        /// What was asked.
        url: String,
        /// As announced.
        expected: String,
        /// As received.
        found: String,
    },
    /// The file can't be written.
    #[error("{} can't be written: {source}", path.display())]
    File {
        /// Where to.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl Error {
    /// Whether the same request may succeed later without anybody changing it. A control plane that speaks another
    /// version of the protocol is updated some day, or the node is.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::ForeignCertificate { .. } => true,
            Self::Refused { status, .. } => {
                status.is_server_error()
                    || matches!(
                        *status,
                        StatusCode::TOO_MANY_REQUESTS | StatusCode::UPGRADE_REQUIRED
                    )
            }
            _ => false,
        }
    }

    /// The control plane is well and lets nodes in one after the other: the wait until this one's turn.
    #[must_use]
    pub fn turn(&self) -> Option<Duration> {
        match self {
            Self::Refused { turn, .. } => turn.map(|wait| wait.min(TURN_MAX)),
            _ => None,
        }
    }

    /// Stable, snake_case; the control plane's own where it gave one.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::ForeignCertificate { .. } => "certificate_foreign",
            Self::Refused {
                code: Some(code), ..
            } => code,
            _ => "control_plane_unavailable",
        }
    }

    fn unanswered(url: &Url, source: reqwest::Error) -> Self {
        let url = url.to_string();
        match certificate_refused(&source) {
            Some(reason) => Self::ForeignCertificate { url, reason },
            None => Self::Unreachable { url, source },
        }
    }
}

/// TLS ended because one side does not take the other's certificate.
fn certificate_refused(error: &reqwest::Error) -> Option<rustls::Error> {
    use rustls::AlertDescription as Alert;
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if let Some(
            refused @ (rustls::Error::InvalidCertificate(_)
            | rustls::Error::AlertReceived(
                Alert::UnknownCA
                | Alert::BadCertificate
                | Alert::CertificateUnknown
                | Alert::DecryptError,
            )),
        ) = error.downcast_ref::<rustls::Error>()
        {
            return Some(refused.clone());
        }
        // An I/O error shows what is behind the error that it holds, and not that error itself.
        source = match error.downcast_ref::<std::io::Error>() {
            Some(io) => io.get_ref().map(|inner| inner as &dyn std::error::Error),
            None => error.source(),
        };
    }
    None
}

/// reqwest says what failed, and only its sources say why.
#[must_use]
pub fn chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

/// A client of the control plane.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
}

/// RFC 9457, as much as is shown.
#[derive(Default, Deserialize)]
struct Problem {
    code: Option<String>,
    detail: Option<String>,
}

impl Client {
    pub(crate) fn new(base: Url, mut tls: rustls::ClientConfig) -> Result<Self, Error> {
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .https_only(true)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .http2_keep_alive_timeout(KEEP_ALIVE)
            .http2_keep_alive_while_idle(true)
            .build()
            .map_err(Error::Client)?;
        Ok(Self { http, base })
    }

    fn url(&self, path: &str) -> Result<Url, Error> {
        self.base.join(path).map_err(|_| Error::Url {
            base: self.base.to_string(),
            path: path.to_owned(),
        })
    }

    pub(crate) async fn post<Q: Serialize, A: DeserializeOwned>(
        &self,
        path: &str,
        request: &Q,
    ) -> Result<A, Error> {
        let url = self.url(path)?;
        let sent = self
            .http
            .post(url.clone())
            .header(PROTOCOL_HEADER, PROTOCOL)
            .timeout(REQUEST_TIMEOUT)
            .json(request)
            .send()
            .await;
        let response = accepted(&url, sent).await?;
        let body = body(&url, response).await?;
        // An answer without content is null.
        let body = if body.is_empty() {
            b"null"
        } else {
            body.as_slice()
        };
        serde_json::from_slice(body).map_err(|source| Error::Shape {
            url: url.into(),
            source,
        })
    }

    /// Opens a stream: limited is the time between its pieces, not the whole.
    pub(crate) async fn stream(
        &self,
        path: &str,
        query: &[(&str, String)],
        headers: &[(&'static str, String)],
    ) -> Result<(Url, Response), Error> {
        let mut url = self.url(path)?;
        url.query_pairs_mut().extend_pairs(query);
        let mut request = self.http.get(url.clone()).header(PROTOCOL_HEADER, PROTOCOL);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let response = accepted(&url, request.send().await).await?;
        Ok((url, response))
    }

    pub(crate) async fn report(&self, report: &Report) -> Result<ReportAnswer, Error> {
        self.post("/node/v1/report", report).await
    }

    /// Ships log lines. Sent twice they are stored once.
    ///
    /// # Errors
    /// [`Error`]; if [`Error::is_passing`] the same batches may be sent again.
    pub async fn logs(&self, batches: &[LogBatch]) -> Result<(), Error> {
        let _: IgnoredAny = self.post("/node/v1/logs", &batches).await?;
        Ok(())
    }

    /// A token for one repository of the registry.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn registry_token(
        &self,
        request: &RegistryTokenRequest,
    ) -> Result<RegistryToken, Error> {
        self.post("/node/v1/registry-token", request).await
    }

    /// Downloads an uploaded source archive. On an error the file may be there in part.
    ///
    /// # Errors
    /// [`Error`], also for more than `max_bytes` and for other bytes than `sha256` (hexadecimal) says.
    pub async fn download_archive(
        &self,
        id: ArchiveId,
        sha256: &str,
        to: &Path,
        max_bytes: u64,
    ) -> Result<(), Error> {
        let path = format!("/node/v1/archives/{id}");
        let (url, mut response) = self.stream(&path, &[], &[]).await?;
        let failed = |source| Error::File {
            path: to.to_owned(),
            source,
        };
        let mut file = File::create(to).await.map_err(failed)?;
        let mut hasher = Sha256::new();
        let mut left = max_bytes;
        while let Some(piece) = next_piece(&url, &mut response).await? {
            let length = u64::try_from(piece.len()).unwrap_or(u64::MAX);
            left = left.checked_sub(length).ok_or_else(|| Error::TooLarge {
                url: url.to_string(),
                limit: max_bytes,
            })?;
            hasher.update(&piece);
            file.write_all(&piece).await.map_err(failed)?;
        }
        file.flush().await.map_err(failed)?;
        let found = hex::encode(hasher.finalize());
        if found == sha256 {
            return Ok(());
        }
        Err(Error::Checksum {
            url: url.into(),
            expected: sha256.to_owned(),
            found,
        })
    }
}

pub(crate) async fn next_piece(
    url: &Url,
    response: &mut Response,
) -> Result<Option<bytes::Bytes>, Error> {
    let piece = response.chunk().await;
    piece.map_err(|source| Error::unanswered(url, source))
}

/// The answer if it says yes.
async fn accepted(url: &Url, sent: Result<Response, reqwest::Error>) -> Result<Response, Error> {
    let response = sent.map_err(|source| Error::unanswered(url, source.without_url()))?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let turn = turn(&response);
    let body = body(url, response).await?;
    let problem: Problem = serde_json::from_slice(&body).unwrap_or_default();
    let text = || String::from_utf8_lossy(&body).chars().take(300).collect();
    Err(Error::Refused {
        url: url.to_string(),
        status,
        code: problem.code,
        detail: problem.detail.unwrap_or_else(text),
        turn,
    })
}

fn turn(response: &Response) -> Option<Duration> {
    let header = response.headers().get(RETRY_AFTER_MS_HEADER)?;
    Some(Duration::from_millis(header.to_str().ok()?.parse().ok()?))
}

async fn body(url: &Url, mut response: Response) -> Result<Vec<u8>, Error> {
    let mut body = Vec::new();
    while let Some(piece) = next_piece(url, &mut response).await? {
        if body.len() + piece.len() > ANSWER_BYTES_MAX {
            return Err(Error::TooLarge {
                url: url.to_string(),
                limit: ANSWER_BYTES_MAX as u64,
            });
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}
