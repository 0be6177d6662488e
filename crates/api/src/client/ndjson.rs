//! Newline-delimited JSON as a stream of values. Lines have a limit; empty ones (keep-alives) are
//! passed over.

use futures::{Stream, StreamExt, TryStreamExt};
use reqwest::Response;
use serde::de::DeserializeOwned;
use tokio_util::{
    codec::{FramedRead, LinesCodec, LinesCodecError},
    io::StreamReader,
};
use url::Url;

use super::{Error, error::root_cause};

/// Longest line: a log line has at most 16 KiB, events somewhat more.
const LINE_MAX: usize = 1024 * 1024;

pub(super) fn lines<T: DeserializeOwned + Send + 'static>(
    answer: Response,
    address: Url,
) -> impl Stream<Item = Result<T, Error>> + Send + Unpin + use<T> {
    let path = answer.url().path().to_owned();
    let bytes = answer.bytes_stream().map_err(std::io::Error::other);
    let lines = FramedRead::new(
        StreamReader::new(bytes.boxed()),
        LinesCodec::new_with_max_length(LINE_MAX),
    );
    lines
        .map_err(move |error| interrupted(&address, &error))
        .try_filter(|line| std::future::ready(!line.is_empty()))
        .map(move |line| parse(&line?, &path))
        .boxed()
}

fn parse<T: DeserializeOwned>(line: &str, path: &str) -> Result<T, Error> {
    serde_json::from_str(line).map_err(|source| Error::Decode {
        path: path.to_owned(),
        source,
    })
}

fn interrupted(address: &Url, error: &LinesCodecError) -> Error {
    Error::Interrupted {
        address: address.clone(),
        reason: root_cause(error),
    }
}
