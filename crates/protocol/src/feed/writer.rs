//! Frames as NDJSON lines: what the control plane sends. Rendered items pass through byte for byte.

use serde::Serialize;
use serde_json::value::RawValue;

use domain::generation::Position;

use super::{Commit, DropCause, Frame, SecretFrame, digest::Rendered};

/// What can't be written as a frame.
#[derive(Debug, thiserror::Error)]
#[error("the frame can't be written as JSON: {0}")]
pub struct Error(#[from] serde_json::Error);

/// The first line of a change set.
///
/// # Errors
/// [`Error`].
pub fn begin(position: Position, full: bool) -> Result<String, Error> {
    line(&Frame::Begin {
        epoch: position.epoch,
        generation: position.generation,
        full,
    })
}

/// An item added or replaced.
///
/// # Errors
/// [`Error`].
pub fn put(id: &str, item: &Rendered) -> Result<String, Error> {
    #[derive(Serialize)]
    struct Put<'a> {
        frame: &'static str,
        id: &'a str,
        item: &'a RawValue,
    }
    let item = serde_json::from_str(item.json())?;
    line(&Put {
        frame: "put",
        id,
        item,
    })
}

/// An item removed.
///
/// # Errors
/// [`Error`].
pub fn delete(id: &str, cause: Option<DropCause>) -> Result<String, Error> {
    line(&Frame::Delete {
        id: id.to_owned(),
        cause,
    })
}

/// A secret's value.
///
/// # Errors
/// [`Error`].
pub fn secret(secret: SecretFrame) -> Result<String, Error> {
    line(&Frame::Secret(secret))
}

/// The last line of a change set.
///
/// # Errors
/// [`Error`].
pub fn commit(commit: Commit) -> Result<String, Error> {
    line(&Frame::Commit(commit))
}

/// Nothing new.
#[must_use]
pub const fn idle() -> &'static str {
    "{\"frame\":\"idle\"}\n"
}

fn line<T: Serialize>(frame: &T) -> Result<String, Error> {
    let mut line = serde_json::to_string(frame)?;
    line.push('\n');
    Ok(line)
}
