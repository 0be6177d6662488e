//! One HTTP/1.1 connection to the engine's unix socket.

use std::path::Path;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited, combinators::UnsyncBoxBody};
use hyper::{
    body::Incoming,
    client::conn::http1::{SendRequest, handshake},
};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use super::Error;

/// A request body of this module.
pub type Body = UnsyncBoxBody<Bytes, std::io::Error>;

const ERROR_BODY_MAX: usize = 64 * 1024;

/// Connects; the connection ends when the sender and its answers are dropped.
pub async fn open(socket: &Path) -> Result<SendRequest<Body>, Error> {
    let fail = failed(socket, "accept a connection");
    let stream = match UnixStream::connect(socket).await {
        Ok(stream) => stream,
        Err(error) => return Err(fail(error.into())),
    };
    let (sender, connection) = match handshake(TokioIo::new(stream)).await {
        Ok(parts) => parts,
        Err(error) => return Err(fail(error.into())),
    };
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "connection to the build engine ended");
        }
    });
    Ok(sender)
}

/// Turns any answer but a success or an upgrade into [`Error::Refused`] with the engine's words.
pub async fn expect_success(
    socket: &Path,
    answer: http::Response<Incoming>,
) -> Result<http::Response<Incoming>, Error> {
    let status = answer.status();
    if status.is_success() || status == http::StatusCode::SWITCHING_PROTOCOLS {
        return Ok(answer);
    }
    let body = Limited::new(answer.into_body(), ERROR_BODY_MAX)
        .collect()
        .await
        .map_err(failed(socket, "say why it refused"))?
        .to_bytes();
    #[derive(serde::Deserialize)]
    struct Refusal {
        message: String,
    }
    let message = match serde_json::from_slice::<Refusal>(&body) {
        Ok(refusal) => refusal.message,
        Err(_) => format!("{status}: {}", String::from_utf8_lossy(&body)),
    };
    Err(Error::Refused { message })
}

/// Makes an [`Error::Engine`] of whatever went wrong while `doing`.
pub fn failed(
    socket: &Path,
    doing: &'static str,
) -> impl FnOnce(Box<dyn std::error::Error + Send + Sync>) -> Error {
    let socket = socket.display().to_string();
    move |source| Error::Engine {
        socket,
        doing,
        source,
    }
}
