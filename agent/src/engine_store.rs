//! Repairs the store of an engine's networks before the engine starts. Docker 20.10 and 23.0 panic at every start once
//! they were killed while they removed a network (docs/adr/0041). Only that network's record is touched: every other
//! network, running containers, their addresses and published ports stay.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};
use serde::{Deserialize, de::IgnoredAny};

/// Below the engine's data folder: a bolt database, whose pages of data carry no checksums.
const STORE: &str = "network/files/local-kv.db";
const SIZE_MAX: u64 = 256 << 20;

/// How the record of a network begins: the engine writes keys in order.
const RECORD: &[u8] = br#"{"addrSpace""#;
/// The engine reserves the pools of this kind when it starts, before it goes on with removals that were cut off.
const RESERVED: &[u8] = br#""ipamType":"default""#;
/// Of this kind it reserves none. As long as the other, so that nothing moves.
const UNRESERVED: &[u8] = br#""ipamType":"null"   "#;

/// Why a store is left as it is.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refused.
    #[error("can't {tried} {path}: {source}")]
    Io {
        /// "open", "lock", "read" or "write".
        tried: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The engine runs.
    #[error("{path} is in use: it can be repaired only while its engine is stopped")]
    InUse {
        /// Which file.
        path: PathBuf,
    },
    /// No store of networks is so large.
    #[error("{path} is larger than {SIZE_MAX} bytes and is not looked through")]
    TooLarge {
        /// Which file.
        path: PathBuf,
    },
}

/// Lets the engine with this data folder finish removals that a kill cut off; the ids of their networks.
///
/// # Errors
/// When the store can't be read or written, or its engine runs.
pub fn repair(data_root: &Path) -> Result<Vec<String>, Error> {
    let path = data_root.join(STORE);
    let failed = |tried| {
        let path = path.clone();
        move |source| Error::Io {
            tried,
            path,
            source,
        }
    };
    let file = match OpenOptions::new().read(true).write(true).open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        opened => opened.map_err(failed("open"))?,
    };
    let file = lock(file, &path)?;
    let mut store = Vec::new();
    (&*file)
        .take(SIZE_MAX + 1)
        .read_to_end(&mut store)
        .map_err(failed("read"))?;
    if store.len() as u64 > SIZE_MAX {
        return Err(Error::TooLarge { path });
    }
    let cut_off = cut_off_removals(&store);
    for removal in &cut_off {
        file.write_all_at(UNRESERVED, removal.at as u64)
            .map_err(failed("write"))?;
    }
    file.sync_all().map_err(failed("write"))?;
    Ok(cut_off.into_iter().map(|removal| removal.network).collect())
}

/// The engine holds the same lock as long as it lives.
fn lock(file: File, path: &Path) -> Result<Flock<File>, Error> {
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| match error {
        Errno::EWOULDBLOCK => Error::InUse { path: path.into() },
        other => Error::Io {
            tried: "lock",
            path: path.into(),
            source: other.into(),
        },
    })
}

/// A network whose addresses were given back and that is still there.
#[derive(Debug, PartialEq, Eq)]
struct Removal {
    network: String,
    /// Where its [`RESERVED`] is.
    at: usize,
}

/// As the engine writes it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    id: String,
    in_delete: bool,
    ipam_type: String,
    ipam_v4_config: Option<IgnoredAny>,
    ipam_v4_info: Option<IgnoredAny>,
}

/// Records in pages that are free are found as well; nobody reads them.
fn cut_off_removals(store: &[u8]) -> Vec<Removal> {
    positions(store, RECORD)
        .filter_map(|begin| cut_off_removal(store, begin))
        .collect()
}

fn cut_off_removal(store: &[u8], begin: usize) -> Option<Removal> {
    let (record, length) = parse(store.get(begin..)?)?;
    let panics = record.ipam_v4_config.is_some() && record.ipam_v4_info.is_none();
    if !(record.in_delete && panics && record.ipam_type == "default") {
        return None;
    }
    let bytes = store.get(begin..begin.checked_add(length)?)?;
    let at = positions(bytes, RESERVED).find(|at| is_the_record_s_own(bytes, *at))?;
    Some(Removal {
        network: record.id,
        at: begin.checked_add(at)?,
    })
}

/// And not that of an option somewhere within.
fn is_the_record_s_own(bytes: &[u8], at: usize) -> bool {
    let mut changed = bytes.to_vec();
    let Some(place) = changed.get_mut(at..at + RESERVED.len()) else {
        return false;
    };
    place.copy_from_slice(UNRESERVED);
    parse(&changed).is_some_and(|(record, _)| record.ipam_type == "null")
}

/// The record at the begin of these bytes, and how long it is.
fn parse(bytes: &[u8]) -> Option<(Record, usize)> {
    let mut records = serde_json::Deserializer::from_slice(bytes).into_iter();
    let record = records.next()?.ok()?;
    Some((record, records.byte_offset()))
}

fn positions<'a>(bytes: &'a [u8], wanted: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    bytes
        .windows(wanted.len())
        .enumerate()
        .filter(move |(_, window)| *window == wanted)
        .map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::{Value, json};

    use super::*;

    /// What Docker 20.10.24 left when it was killed amid eight removals: `n0`'s addresses are given back. Pages that
    /// hold nothing are cut out.
    const KILLED: &[u8] = include_bytes!("engine_store/killed-amid-removals.db");
    const CUT_OFF: &str = "8bf06f4f53695992b20371063acea69a6005ad4baa865ff7f3a9cf3ebfa66d75";

    fn record(change: impl FnOnce(&mut Value)) -> Vec<u8> {
        let mut record = json!({
            "addrSpace": "LocalDefault",
            "generic": { "com.docker.network.generic": { "ipamType": "default" } },
            "id": "0a",
            "inDelete": true,
            "ipamType": "default",
            "ipamV4Config": "[{}]",
            "name": "rh-0",
        });
        change(&mut record);
        [b"\x07page\0", record.to_string().as_bytes(), b"\0\xff"].concat()
    }

    fn data_root(store: &[u8]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(STORE);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, store).unwrap();
        folder
    }

    #[test]
    fn a_removal_that_was_cut_off_is_found_in_a_store_and_nothing_else_changes() {
        let folder = data_root(KILLED);
        assert_eq!(repair(folder.path()).unwrap(), [CUT_OFF]);
        let repaired = fs::read(folder.path().join(STORE)).unwrap();
        let changed = KILLED.iter().zip(&repaired).filter(|(a, b)| a != b);
        assert_eq!(repaired.len(), KILLED.len());
        assert_eq!(changed.count(), 8);
        assert_eq!(repair(folder.path()).unwrap(), [""; 0], "once is enough");
    }

    #[test]
    fn an_option_of_the_same_name_is_not_what_is_changed() {
        let store = record(|_| {});
        let [removal] = &cut_off_removals(&store)[..] else {
            panic!("not found");
        };
        let last = positions(&store, RESERVED).last().unwrap();
        assert_eq!((removal.network.as_str(), removal.at), ("0a", last));
    }

    #[test]
    fn networks_that_the_engine_can_start_with_are_left() {
        let sound: [fn(&mut Value); 4] = [
            |record| record["inDelete"] = json!(false),
            |record| record["ipamV4Info"] = json!("[{}]"),
            |record| record["ipamType"] = json!("null"),
            |record| {
                record.as_object_mut().unwrap().remove("ipamV4Config");
            },
        ];
        for change in sound {
            assert_eq!(cut_off_removals(&record(change)), []);
        }
    }

    #[test]
    fn a_store_that_is_cut_short_is_left() {
        let store = record(|_| {});
        for length in 0..store.len() - 2 {
            assert_eq!(cut_off_removals(&store[..length]), []);
        }
    }

    #[test]
    fn an_engine_that_runs_keeps_its_store() {
        let folder = data_root(KILLED);
        let file = File::open(folder.path().join(STORE)).unwrap();
        let _engine = lock(file, Path::new(STORE)).unwrap();
        let refused = repair(folder.path());
        assert!(matches!(refused, Err(Error::InUse { .. })), "{refused:?}");
        assert_eq!(fs::read(folder.path().join(STORE)).unwrap(), KILLED);
    }

    #[test]
    fn an_engine_that_never_ran_needs_nothing() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(repair(folder.path()).unwrap(), [""; 0]);
    }
}
