//! What a machine had before, beside what has come in its place, until the unit that it is for uses that. So a call that
//! was cut off in between is gone on with, and what a process does not hand over to goes again.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::error::{Error, Result};

/// A file as it was when its unit used it last.
#[derive(Debug)]
pub struct Former {
    path: PathBuf,
    kept: PathBuf,
}

impl Former {
    /// What an earlier call has kept, and did not come to the end with.
    pub fn find(path: &Path) -> Option<Self> {
        let former = Self::of(path);
        former.kept.exists().then_some(former)
    }

    /// Keeps a file that is about to be replaced by another one; none when there is none.
    pub fn keep(path: &Path) -> Result<Option<Self>> {
        let former = Self::of(path);
        match fs::hard_link(&former.path, &former.kept) {
            Ok(()) => Ok(Some(former)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::file("keep", path)(error)),
        }
    }

    fn of(path: &Path) -> Self {
        let mut kept = path.as_os_str().to_owned();
        kept.push(".before");
        Self {
            path: path.to_owned(),
            kept: kept.into(),
        }
    }

    /// What has come in its place is no good.
    pub fn put_back(self) -> Result {
        fs::rename(&self.kept, &self.path).map_err(Error::file("put back", &self.path))
    }

    /// What has come in its place is used.
    pub fn forget(self) -> Result {
        fs::remove_file(&self.kept).map_err(Error::file("remove", &self.kept))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replace(path: &Path, text: &str) {
        let draft = path.with_extension("new");
        fs::write(&draft, text).unwrap();
        fs::rename(draft, path).unwrap();
    }

    #[test]
    fn a_file_comes_back_as_it_was_or_goes_for_good() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("edge-proxy");
        assert!(Former::keep(&path).unwrap().is_none());
        assert!(Former::find(&path).is_none());

        fs::write(&path, "one").unwrap();
        Former::keep(&path).unwrap().unwrap();
        replace(&path, "two");
        let of_a_call_that_was_cut_off = Former::find(&path).unwrap();
        of_a_call_that_was_cut_off.put_back().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "one");

        let former = Former::keep(&path).unwrap().unwrap();
        replace(&path, "three");
        former.forget().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "three");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
