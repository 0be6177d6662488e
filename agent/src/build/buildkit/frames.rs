//! The answer to `POST /build`: one JSON object per line, with BuildKit's status as protobuf.

use std::path::Path;

use bollard::models::{BuildInfo, BuildInfoAux};
use futures::StreamExt;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio_util::{
    codec::{FramedRead, LinesCodec},
    io::StreamReader,
};

use super::{Error, Progress, connection::failed};

/// One status message with logs stays far below this.
const FRAME_MAX: usize = 16 << 20;

/// Follows a build to its end.
pub async fn follow(socket: &Path, body: Incoming, progress: &mut Progress) -> Result<(), Error> {
    let bytes = body
        .into_data_stream()
        .map(|chunk| chunk.map_err(std::io::Error::other));
    let mut lines = FramedRead::new(
        StreamReader::new(bytes),
        LinesCodec::new_with_max_length(FRAME_MAX),
    );
    while let Some(line) = lines.next().await {
        let line = line.map_err(|e| failed(socket, "go on with the build")(e.into()))?;
        if line.trim().is_empty() {
            continue;
        }
        let info: BuildInfo = serde_json::from_str(&line)
            .map_err(|e| failed(socket, "speak BuildKit's protocol")(e.into()))?;
        take(info, progress)?;
    }
    progress.finish();
    Ok(())
}

fn take(info: BuildInfo, progress: &mut Progress) -> Result<(), Error> {
    if let Some(BuildInfoAux::BuildKit(status)) = info.aux {
        progress.update(status);
    }
    match info.error_detail.and_then(|detail| detail.message) {
        Some(message) => {
            progress.finish();
            Err(Error::Build { message })
        }
        None => Ok(()),
    }
}
