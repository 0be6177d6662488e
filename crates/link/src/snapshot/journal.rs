//! The journal: one change per line, each behind its hash. A crash in the middle of an append leaves a
//! tail that is told from a whole line and cut off.

use std::{
    fs::{File, OpenOptions},
    io::{Seek as _, SeekFrom, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};

use super::{
    Damage, Error,
    record::{Record, RecordLine},
};
use crate::disk;

/// The journal, written to from its first append on: a node begins on a disk that it can only read.
#[derive(Debug)]
pub struct Journal {
    file: Option<File>,
    path: PathBuf,
    bytes: u64,
}

impl Journal {
    /// Reads the journal, if there is one; answers its whole records, and what was wrong with the rest.
    pub fn read(path: &Path) -> Result<(Self, Vec<Record>, Option<Damage>), Error> {
        let content = disk::read(path)?.unwrap_or_default();
        let (records, whole, damage) = decode(&content);
        let journal = Self {
            file: None,
            path: path.to_owned(),
            bytes: whole,
        };
        let damage = damage.map(|what| Damage {
            path: path.to_owned(),
            what,
        });
        Ok((journal, records, damage))
    }

    /// Of all whole records.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds a record, durably. After an error the journal ends where it ended before.
    pub fn append(&mut self, sequence: u64, record: &Record) -> Result<(), Error> {
        let line = encode(sequence, record)?;
        let end = self.bytes;
        let file = self.opened()?;
        let written = write(file, end, &line);
        if written.is_err() {
            // A tail that stays is overwritten by the next append, and cut off by the next start.
            let _ = file.set_len(end);
        }
        written.map_err(disk::failed("appended to", &self.path))?;
        self.bytes += u64::try_from(line.len()).unwrap_or(u64::MAX);
        Ok(())
    }

    /// Empties the journal: the base has it all.
    pub fn clear(&mut self) -> Result<(), Error> {
        let file = self.opened()?;
        file.set_len(0)
            .and_then(|()| file.sync_data())
            .map_err(disk::failed("emptied", &self.path))?;
        self.bytes = 0;
        Ok(())
    }

    fn opened(&mut self) -> Result<&mut File, Error> {
        let file = match self.file.take() {
            Some(file) => file,
            None => open(&self.path)?,
        };
        Ok(self.file.insert(file))
    }
}

fn open(path: &Path) -> Result<File, Error> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(disk::failed("opened", path))?;
    disk::sync_parent(path)?;
    Ok(file)
}

fn write(file: &mut File, end: u64, line: &[u8]) -> std::io::Result<()> {
    file.seek(SeekFrom::Start(end))?;
    file.set_len(end)?;
    file.write_all(line)?;
    file.sync_data()
}

fn encode(sequence: u64, record: &Record) -> Result<Vec<u8>, Error> {
    let json = serde_json::to_string(&RecordLine::of(sequence, record)?)?;
    let hash = hex::encode(Sha256::digest(&json));
    Ok(format!("{hash} {json}\n").into_bytes())
}

/// The whole records, their length in bytes, and what is wrong with what follows them.
fn decode(content: &[u8]) -> (Vec<Record>, u64, Option<String>) {
    let mut records = Vec::new();
    let mut whole = 0;
    for line in content.split_inclusive(|byte| *byte == b'\n') {
        match decode_line(line) {
            Ok(record) => records.push(record),
            Err(what) => return (records, whole, Some(what)),
        }
        whole += u64::try_from(line.len()).unwrap_or(u64::MAX);
    }
    (records, whole, None)
}

fn decode_line(line: &[u8]) -> Result<Record, String> {
    let line = std::str::from_utf8(line).map_err(|error| error.to_string())?;
    let line = line.strip_suffix('\n').ok_or("its last change is cut")?;
    let (hash, json) = line.split_once(' ').ok_or("a change has no hash")?;
    if hex::encode(Sha256::digest(json)) != hash {
        return Err("the hash of a change is another".to_owned());
    }
    let line: RecordLine = serde_json::from_str(json).map_err(|error| error.to_string())?;
    line.read()
}
