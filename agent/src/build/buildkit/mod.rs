//! Builds through Docker's BuildKit, over the engine's own socket. `bollard` offers no session
//! with secrets and shows no logs, so the two calls that a build needs are made here, with
//! bollard's generated types: `POST /session` (the engine asks back for secrets and registry
//! tokens) and `POST /build?version=2`.

mod connection;
mod frames;
mod progress;
mod session;
mod usage;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use futures::StreamExt;
use http_body_util::{BodyExt, StreamBody};
use tokio_util::io::ReaderStream;

pub use progress::{FailedStep, Progress};
pub use session::{SecretFiles, Session, TokenSource};
pub use usage::cache_bytes;

/// Why BuildKit made no image.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The engine could not be reached, or broke off.
    #[error("the build engine at {socket} did not {doing}: {source}")]
    Engine {
        /// Its socket.
        socket: String,
        /// What was asked of it.
        doing: &'static str,
        /// What happened.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The engine answered with an error before it began.
    #[error("the build engine refused: {message}")]
    Refused {
        /// The engine's own words.
        message: String,
    },
    /// The build itself failed.
    #[error("{message}")]
    Build {
        /// BuildKit's own words.
        message: String,
    },
}

/// What is built.
#[derive(Debug)]
pub struct Request {
    /// Unique; also names the build when it is canceled.
    pub id: String,
    /// A tar file with the source.
    pub context: PathBuf,
    /// Within the context.
    pub dockerfile: String,
    /// `repository:tag` of the result.
    pub tag: String,
    /// Build arguments.
    pub args: BTreeMap<String, String>,
    /// Labels of the image.
    pub labels: BTreeMap<String, String>,
}

impl Request {
    fn query(&self, session: &str) -> Result<String, serde_json::Error> {
        Ok(url::form_urlencoded::Serializer::new(String::new())
            .append_pair("version", "2")
            .append_pair("session", session)
            .append_pair("buildid", &self.id)
            .append_pair("t", &self.tag)
            .append_pair("dockerfile", &self.dockerfile)
            .append_pair("buildargs", &serde_json::to_string(&self.args)?)
            .append_pair("labels", &serde_json::to_string(&self.labels)?)
            .append_pair("rm", "1")
            // What a tag stands for is asked of its registry, never of what lies in the engine: another
            // organization's image may.
            .append_pair("pull", "1")
            .finish())
    }
}

/// Builds one image. Dropping the future closes the connection, and the engine stops the build.
///
/// # Errors
/// [`Error`]; the step that failed is in `progress`.
pub async fn build(
    socket: &Path,
    request: &Request,
    session: &Session,
    progress: &mut Progress,
) -> Result<(), Error> {
    let fail = |doing| connection::failed(socket, doing);
    let context = tokio::fs::File::open(&request.context)
        .await
        .map_err(|e| fail("get the source")(e.into()))?;
    let body = StreamBody::new(
        ReaderStream::with_capacity(context, 64 * 1024)
            .map(|chunk| chunk.map(http_body::Frame::data)),
    )
    .boxed_unsync();
    let query = request
        .query(session.id())
        .map_err(|e| fail("take the request")(e.into()))?;
    let http = http::Request::post(format!("/build?{query}"))
        .header(http::header::HOST, "docker")
        .header(http::header::CONTENT_TYPE, "application/x-tar")
        .body(body)
        .map_err(|e| fail("take the request")(e.into()))?;
    let mut sender = connection::open(socket).await?;
    let answer = sender
        .send_request(http)
        .await
        .map_err(|e| fail("begin the build")(e.into()))?;
    let answer = connection::expect_success(socket, answer).await?;
    frames::follow(socket, answer.into_body(), progress).await
}
