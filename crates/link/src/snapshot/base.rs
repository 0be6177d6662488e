//! The base file: a line with the hash of all that follows, a header, then one item per line.

use std::path::Path;

use protocol::feed::Commit;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{
    Damage, Error, Stored,
    record::{ItemLine, KeptLine, kept_lines, read_kept},
};
use crate::disk;

#[derive(Serialize, Deserialize)]
struct Header {
    sequence: u64,
    commit: Option<Commit>,
    kept: Vec<KeptLine>,
}

/// The whole file.
pub fn encode(sequence: u64, stored: &Stored) -> Result<Vec<u8>, Error> {
    let header = Header {
        sequence,
        commit: stored.commit.clone(),
        kept: kept_lines(&stored.kept)?,
    };
    let mut body = serde_json::to_vec(&header)?;
    body.push(b'\n');
    for (id, item) in stored.document.iter() {
        serde_json::to_writer(&mut body, &ItemLine::of(id, item)?)?;
        body.push(b'\n');
    }
    let mut file = hex::encode(Sha256::digest(&body)).into_bytes();
    file.push(b'\n');
    file.append(&mut body);
    Ok(file)
}

/// The stored state and the file's size; nothing stored when there is no file or it is damaged.
pub fn read(path: &Path) -> Result<(Stored, u64, Option<Damage>), Error> {
    let Some(file) = disk::read(path)? else {
        return Ok((Stored::default(), 0, None));
    };
    let bytes = u64::try_from(file.len()).unwrap_or(u64::MAX);
    Ok(match decode(&file) {
        Ok(stored) => (stored, bytes, None),
        Err(what) => {
            let path = path.to_owned();
            (Stored::default(), bytes, Some(Damage { path, what }))
        }
    })
}

fn decode(file: &[u8]) -> Result<Stored, String> {
    let text = std::str::from_utf8(file).map_err(|error| error.to_string())?;
    let (hash, body) = text.split_once('\n').ok_or("it is cut")?;
    if hex::encode(Sha256::digest(body)) != hash {
        return Err("its hash is another".to_owned());
    }
    let mut lines = body.lines();
    let header = lines.next().ok_or("it has no header")?;
    let header: Header = serde_json::from_str(header).map_err(|error| error.to_string())?;
    let mut stored = Stored {
        sequence: header.sequence,
        commit: header.commit,
        kept: read_kept(header.kept)?,
        ..Stored::default()
    };
    for line in lines {
        let line: ItemLine = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let (id, item) = line.read()?;
        stored.document.put(&id, item);
    }
    Ok(stored)
}
