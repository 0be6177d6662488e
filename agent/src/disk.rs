//! Small files, most of them JSON, that are whole or not there: written beside, synced, renamed.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};

/// Why a file of the agent's state can't be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refused.
    #[error("can't {tried} {path}: {source}")]
    Io {
        /// "read" or "write".
        tried: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The content is not what this version writes.
    #[error("{path} is damaged: {source}; move it away to start without it")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Where.
        source: serde_json::Error,
    },
}

/// Reads a file, or `None` when it isn't there.
///
/// # Errors
/// When it can't be read or is no such value.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(io_error("read", path, source)),
    };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|source| Error::Damaged {
            path: path.to_owned(),
            source,
        })
}

/// Replaces a file; after a crash either the old or the new content is there. Whoever waits, no thread of the
/// runtime does: a disk may take seconds.
///
/// # Errors
/// When it can't be written; the old content then stands.
pub async fn write<T: Serialize + Sync>(path: &Path, value: &T) -> Result<(), Error> {
    let bytes = serde_json::to_vec(value).map_err(|source| Error::Damaged {
        path: path.to_owned(),
        source,
    })?;
    let file = path.to_owned();
    let written = tokio::task::spawn_blocking(move || replace(&file, &bytes)).await;
    written
        .unwrap_or_else(|broken| Err(broken.into()))
        .map_err(|source| io_error("write", path, source))
}

/// Replaces a file, on a thread that may wait for the disk.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut file = File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)
}

fn io_error(tried: &'static str, path: &Path, source: io::Error) -> Error {
    Error::Io {
        tried,
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn reads_back_what_was_written_and_names_a_damaged_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/ports.json");
        assert_eq!(read::<Vec<u16>>(&path).unwrap(), None);
        write(&path, &vec![1_u16, 2]).await.unwrap();
        assert_eq!(read::<Vec<u16>>(&path).unwrap(), Some(vec![1, 2]));
        fs::write(&path, "[1,").unwrap();
        let error = read::<Vec<u16>>(&path).unwrap_err().to_string();
        assert!(error.contains("ports.json is damaged"), "{error}");
    }
}
