//! Files of ours: written whole or not at all, and readable by their owner only when they hold
//! something secret.

use std::{
    fs, io,
    io::Write,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::Path,
};

use crate::error::{Error, Result};

/// The text of a file, or `None` when there is no such file.
pub fn read_if_there(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::file("read", path, &error)),
    }
}

/// The text of a file that the user named.
pub fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|error| Error::file("read", path, &error))
}

/// Replaces a file that only its owner may read (0600, in a directory of 0700).
pub fn write_private(path: &Path, text: &str) -> Result {
    write_with(path, text, 0o600, 0o700)
}

/// Replaces a file that anybody may read.
pub fn write_public(path: &Path, text: &str) -> Result {
    write_with(path, text, 0o644, 0o755)
}

fn write_with(path: &Path, text: &str, mode: u32, directory_mode: u32) -> Result {
    let failed = |error: io::Error| Error::file("write", path, &error);
    let directory = path.parent().unwrap_or_else(|| Path::new("."));
    fs::DirBuilder::new()
        .recursive(true)
        .mode(directory_mode)
        .create(directory)
        .map_err(failed)?;
    let mut file = tempfile::NamedTempFile::new_in(directory).map_err(failed)?;
    file.as_file()
        .set_permissions(fs::Permissions::from_mode(mode))
        .map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

/// Removes a file; one that is not there is fine.
pub fn remove(path: &Path) -> Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::file("remove", path, &error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_for_their_owner_only_even_over_an_open_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("railhead/credentials.toml");
        write_private(&path, "a").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        write_private(&path, "b").unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(read(&path).unwrap(), "b");
    }

    #[test]
    fn what_is_not_there_is_no_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("nothing");
        assert_eq!(read_if_there(&path).unwrap(), None);
        assert!(!remove(&path).unwrap());
    }
}
