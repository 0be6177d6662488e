//! How much disk BuildKit's cache takes. `bollard` reads only the newest API's shape.

use std::path::Path;

use http_body_util::{BodyExt, Empty, Limited};
use serde::Deserialize;

use super::{Error, connection};

const ANSWER_MAX: usize = 64 << 20;

/// The answer to `GET /system/df`, before and since API 1.52.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Usage {
    build_cache: Option<Vec<Entry>>,
    build_cache_usage: Option<Total>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    size: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Total {
    total_size: u64,
}

impl Usage {
    fn bytes(&self) -> u64 {
        let entries = self.build_cache.iter().flatten().map(|entry| entry.size);
        let total = self.build_cache_usage.as_ref();
        total.map_or_else(|| entries.sum(), |total| total.total_size)
    }
}

/// Bytes in BuildKit's cache.
///
/// # Errors
/// When the engine does not answer.
pub async fn cache_bytes(socket: &Path) -> Result<u64, Error> {
    let fail = |doing| connection::failed(socket, doing);
    let request = http::Request::get("/system/df")
        .header(http::header::HOST, "docker")
        .body(Empty::new().map_err(|never| match never {}).boxed_unsync())
        .map_err(|e| fail("take a request")(e.into()))?;
    let mut sender = connection::open(socket).await?;
    let answer = sender
        .send_request(request)
        .await
        .map_err(|e| fail("tell its disk use")(e.into()))?;
    let answer = connection::expect_success(socket, answer).await?;
    let body = Limited::new(answer.into_body(), ANSWER_MAX)
        .collect()
        .await
        .map_err(fail("tell its disk use"))?
        .to_bytes();
    let usage: Usage =
        serde_json::from_slice(&body).map_err(|e| fail("tell its disk use")(e.into()))?;
    Ok(usage.bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_shapes_are_read() {
        let bytes = |text: &str| serde_json::from_str::<Usage>(text).unwrap().bytes();
        assert_eq!(bytes(r#"{"BuildCache":[{"Size":2},{"Size":3}]}"#), 5);
        assert_eq!(bytes(r#"{"BuildCacheUsage":{"TotalSize":7}}"#), 7);
        assert_eq!(bytes(r#"{"BuildCache":null}"#), 0);
    }
}
