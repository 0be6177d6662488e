//! Sources from an uploaded `.tar.gz`: checked against its digest, unpacked without a way out.

use std::{
    fs::File,
    io::Read,
    path::{Component, Path},
    sync::Arc,
};

use flate2::read::MultiGzDecoder;
use link::client;

use domain::{id::ArchiveId, quantity::Bytes};
use protocol::log::Stream;

use super::Fetch;
use crate::build::{blocking::blocking, error::Error};

const ENTRIES_MAX: usize = 200_000;

/// Downloads and unpacks an archive.
pub async fn fetch(fetch: &Fetch<'_>, id: ArchiveId, sha256: &str) -> Result<(), Error> {
    fetch.log.line(
        Stream::Stdout,
        &format!("Fetching the uploaded source {id}"),
    );
    let path = fetch.workspace.file("upload.tar.gz");
    let limit = fetch.config.max_source;
    fetch
        .control_plane
        .download_archive(id, sha256, &path, limit.0)
        .await
        .map_err(|error| match error {
            client::Error::TooLarge { .. } => Error::RepositoryTooLarge { limit },
            damaged @ client::Error::Checksum { .. } => invalid(damaged.to_string()),
            other => Error::ArchiveFetch(other),
        })?;
    let workspace = Arc::clone(fetch.workspace);
    blocking(move || unpack(&path, &workspace.source(), limit)).await
}

fn invalid(reason: impl Into<String>) -> Error {
    Error::ArchiveInvalid {
        reason: reason.into(),
    }
}

/// Unpacks into `target`: only files, folders and links that stay inside.
fn unpack(archive: &Path, target: &Path, limit: Bytes) -> Result<(), Error> {
    let file = File::open(archive).map_err(Error::io("read", archive))?;
    let unpacked = MultiGzDecoder::new(file).take(limit.0 + 1);
    let mut tar = tar::Archive::new(unpacked);
    tar.set_preserve_ownerships(false);
    tar.set_unpack_xattrs(false);
    let mut left = limit.0;
    let entries = tar.entries().map_err(|e| invalid(e.to_string()))?;
    for (count, entry) in entries.enumerate() {
        if count >= ENTRIES_MAX {
            return Err(invalid(format!("it has more than {ENTRIES_MAX} entries")));
        }
        let mut entry = entry.map_err(|e| invalid(e.to_string()))?;
        left = left
            .checked_sub(entry.size())
            .ok_or(Error::RepositoryTooLarge { limit })?;
        place(&mut entry, target)?;
    }
    Ok(())
}

fn place<R: Read>(entry: &mut tar::Entry<'_, R>, target: &Path) -> Result<(), Error> {
    let path = entry
        .path()
        .map_err(|e| invalid(e.to_string()))?
        .into_owned();
    let kind = entry.header().entry_type();
    if kind.is_pax_global_extensions() {
        return Ok(());
    }
    let allowed = kind.is_file() || kind.is_dir() || kind.is_symlink();
    if !allowed {
        return Err(invalid(format!(
            "{} is neither a file, a folder nor a symbolic link",
            path.display()
        )));
    }
    if kind.is_symlink() {
        let link = entry.link_name().map_err(|e| invalid(e.to_string()))?;
        let link = link.ok_or_else(|| invalid("a symbolic link names no target"))?;
        if leads_out(&path, &link) {
            return Err(invalid(format!(
                "the link {} leads out of the source",
                path.display()
            )));
        }
    }
    match entry.unpack_in(target) {
        Ok(true) => Ok(()),
        Ok(false) => Err(invalid(format!(
            "{} lies outside the source",
            path.display()
        ))),
        Err(error) => Err(invalid(format!("{}: {error}", path.display()))),
    }
}

/// Whether a link at `path` (relative to the top) points above the top.
fn leads_out(path: &Path, link: &Path) -> bool {
    let mut depth = path.components().count().saturating_sub(1);
    for part in link.components() {
        match part {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir if depth > 0 => depth -= 1,
            _ => return true,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    struct Entry<'a>(&'a str, tar::EntryType, &'a str);

    /// Writes names byte by byte: the builder of the `tar` crate would refuse the bad ones.
    fn archive(entries: &[Entry<'_>]) -> tempfile::NamedTempFile {
        let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        for Entry(name, kind, text) in entries {
            let mut header = tar::Header::new_ustar();
            let old = header.as_old_mut();
            old.name[..name.len()].copy_from_slice(name.as_bytes());
            let content = if kind.is_file() {
                text.as_bytes()
            } else {
                old.linkname[..text.len()].copy_from_slice(text.as_bytes());
                &[]
            };
            header.set_entry_type(*kind);
            header.set_mode(0o644);
            header.set_size(content.len() as u64);
            header.set_cksum();
            tar.append(&header, content).unwrap();
        }
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&tar.into_inner().unwrap().finish().unwrap())
            .unwrap();
        file
    }

    fn code(entries: &[Entry<'_>], limit: Bytes) -> &'static str {
        let target = tempfile::tempdir().unwrap();
        let code = match unpack(archive(entries).path(), target.path(), limit) {
            Ok(()) => "ok",
            Err(error) => error.code(),
        };
        let outside = target.path().parent().unwrap().join("railhead-outside");
        assert!(!outside.exists());
        code
    }

    #[test]
    fn nothing_leaves_the_folder() {
        use tar::EntryType;
        let limit = Bytes::mebibytes(1);
        let file = |name| Entry(name, EntryType::Regular, "text");
        let link = |name, to| Entry(name, EntryType::Symlink, to);
        assert_eq!(
            code(&[file("a"), file("b/c"), link("b/d", "../a")], limit),
            "ok"
        );
        for bad in [
            vec![file("../railhead-outside")],
            vec![link("a", "/etc/passwd")],
            vec![link("a", "../x")],
            vec![link("d/a", "../../x")],
            vec![Entry("a", EntryType::Link, "/etc/passwd")],
            vec![Entry("a", EntryType::Char, "")],
            vec![Entry("a", EntryType::Fifo, "")],
        ] {
            assert_eq!(code(&bad, limit), "archive_invalid");
        }
    }

    #[test]
    fn a_bomb_is_too_large() {
        let zeros = "0".repeat(2 << 20);
        let bomb = [Entry("a", tar::EntryType::Regular, &zeros)];
        assert_eq!(code(&bomb, Bytes::mebibytes(1)), "repository_too_large");
    }

    #[test]
    fn rubbish_is_no_archive() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"not gzip").unwrap();
        let target = tempfile::tempdir().unwrap();
        let error = unpack(file.path(), target.path(), Bytes::mebibytes(1)).unwrap_err();
        assert_eq!(error.code(), "archive_invalid");
    }
}
