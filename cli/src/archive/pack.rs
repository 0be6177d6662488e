//! Writing the archive to a temporary file, so that its size is known before it is sent and it can
//! be sent again. Owners are left out; times and the executable bit stay.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::Path,
};

use flate2::{Compression, write::GzEncoder};
use tar::{Builder, EntryType, Header, HeaderMode};
use tempfile::NamedTempFile;

use super::Contents;
use crate::error::{Error, Result};

/// An archive on disk; gone when dropped.
#[derive(Debug)]
pub struct Packed {
    /// Where it is.
    pub file: NamedTempFile,
    /// Files and links in it.
    pub files: usize,
    /// Its size.
    pub size_bytes: u64,
}

/// Packs `contents` of `folder`.
pub fn pack(folder: &Path, contents: &Contents) -> Result<Packed> {
    let failed = |error: io::Error| Error::file("write", "the archive", &error);
    let file = NamedTempFile::with_prefix("railhead-").map_err(failed)?;
    let gzip = GzEncoder::new(io::BufWriter::new(file.as_file()), Compression::fast());
    let mut archive = Builder::new(gzip);
    let mut files = 0;
    for path in &contents.entries {
        files += append(&mut archive, folder, path)?;
    }
    let mut writer = archive
        .into_inner()
        .and_then(GzEncoder::finish)
        .map_err(failed)?;
    writer.flush().map_err(failed)?;
    drop(writer);
    let size_bytes = file.as_file().metadata().map_err(failed)?.len();
    Ok(Packed {
        file,
        files,
        size_bytes,
    })
}

fn append(archive: &mut Builder<impl Write>, folder: &Path, path: &Path) -> Result<usize> {
    let full = folder.join(path);
    let failed = |error: io::Error| Error::file("pack", full.clone(), &error);
    let metadata = fs::symlink_metadata(&full).map_err(failed)?;
    let mut header = anonymous(&metadata);
    if metadata.is_symlink() {
        let target = fs::read_link(&full).map_err(failed)?;
        header.set_entry_type(EntryType::Symlink);
        header.set_size(0);
        archive
            .append_link(&mut header, path, target)
            .map_err(failed)?;
        return Ok(1);
    }
    if metadata.is_dir() {
        archive
            .append_data(&mut header, path, io::empty())
            .map_err(failed)?;
        return Ok(0);
    }
    let mut content = Exactly {
        left: metadata.len(),
        file: File::open(&full).map_err(failed)?,
    };
    archive
        .append_data(&mut header, path, &mut content)
        .map_err(failed)?;
    Ok(1)
}

fn anonymous(metadata: &fs::Metadata) -> Header {
    let mut header = Header::new_gnu();
    header.set_metadata_in_mode(metadata, HeaderMode::Complete);
    header.set_uid(0);
    header.set_gid(0);
    header
}

/// Reads as many bytes as the header promises, for a file may grow or shrink meanwhile.
struct Exactly {
    left: u64,
    file: File,
}

impl Read for Exactly {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = (&self.file).take(self.left).read(buffer)?;
        if read == 0 && self.left > 0 && !buffer.is_empty() {
            return Err(io::Error::other(
                "it changed while it was read; try again when nothing writes to it",
            ));
        }
        self.left -= read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, os::unix::fs::PermissionsExt};

    use super::*;

    fn unpacked(packed: &Packed) -> BTreeMap<String, (u32, u64, u64)> {
        let gzip = flate2::read::GzDecoder::new(packed.file.reopen().unwrap());
        let mut archive = tar::Archive::new(gzip);
        archive
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let header = entry.header();
                let path = entry.path().unwrap().display().to_string();
                (
                    path,
                    (header.mode().unwrap(), header.uid().unwrap(), entry.size()),
                )
            })
            .collect()
    }

    #[test]
    fn content_and_the_executable_bit_arrive_and_owners_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("run.sh");
        fs::write(&run, "#!/bin/sh\n").unwrap();
        fs::set_permissions(&run, fs::Permissions::from_mode(0o755)).unwrap();
        let long = "d".repeat(120);
        fs::create_dir(folder.path().join(&long)).unwrap();
        fs::write(folder.path().join(&long).join("f"), vec![7; 3_000_000]).unwrap();
        let contents = super::super::list(folder.path(), "Dockerfile").unwrap();
        let packed = pack(folder.path(), &contents).unwrap();
        let found = unpacked(&packed);
        assert_eq!(packed.files, 2);
        assert_eq!(found["run.sh"].0 & 0o777, 0o755);
        assert_eq!(found["run.sh"].1, 0);
        assert_eq!(found[&format!("{long}/f")].2, 3_000_000);
    }

    #[test]
    fn a_file_that_shrinks_meanwhile_is_an_error_and_no_broken_archive() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        fs::write(&path, "ab").unwrap();
        let mut content = Exactly {
            left: 3,
            file: File::open(&path).unwrap(),
        };
        assert!(io::copy(&mut content, &mut io::sink()).is_err());
    }
}
