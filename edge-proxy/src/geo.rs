//! Where addresses are: countries and autonomous systems, by databases in MaxMind's format that the operator supplies.
//! Without one nothing is known, and nothing is said. A file that changes is read again; of one that can't be used the
//! last good one serves on.

use std::{
    fs::{self, File},
    io::Read as _,
    net::IpAddr,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use maxminddb::{MaxMindDbError, Reader};
use rules::Place;
use serde::Deserialize;

use crate::{metrics::Metrics, state::State};

/// Databases of one edge: one for countries, one for networks, and some to spare.
pub const DATABASES_MAX: usize = 4;
/// Larger ones hold more than is asked for here.
const BYTES_MAX: u64 = 1 << 30;
/// Between two looks at the files.
const LOOK: Duration = Duration::from_secs(2);

type Database = Reader<Vec<u8>>;

/// What is known of places; nothing until there is a database.
#[derive(Debug, Default)]
pub struct Geo(ArcSwap<Vec<Arc<Database>>>);

/// The files, and what they held when they could last be used.
#[derive(Debug)]
pub struct Databases(Vec<Source>);

#[derive(Debug)]
struct Source {
    path: PathBuf,
    /// The file that was seen last, good or not, or that there was none.
    seen: Option<Option<Stamp>>,
    good: Option<Arc<Database>>,
}

/// Two files with the same are one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
}

/// Why a database can't be used.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("reading it: {0}")]
    Read(#[from] std::io::Error),
    #[error("it has {0} bytes, more than 1 GiB: take one with countries or networks only")]
    TooLarge(u64),
    #[error("it is no database in MaxMind's format: {0}")]
    Format(#[from] MaxMindDbError),
}

/// The part of a record that is asked for, as `GeoLite2` and its like have it.
#[derive(Deserialize)]
struct Record<'a> {
    #[serde(borrow, default)]
    country: Option<Country<'a>>,
    #[serde(default)]
    autonomous_system_number: Option<u32>,
}

#[derive(Deserialize)]
struct Country<'a> {
    #[serde(borrow, default)]
    iso_code: Option<&'a str>,
}

impl Geo {
    /// Where an address is, as far as any database says.
    #[must_use]
    pub fn place(&self, address: IpAddr) -> Place {
        let address = address.to_canonical();
        let (mut country, mut asn) = (None, 0);
        let databases = self.0.load();
        for database in databases.iter() {
            let Some(record) = record(database, address) else {
                continue;
            };
            country = country.or(record.country.and_then(|found| found.iso_code));
            if let Some(number) = record.autonomous_system_number.filter(|_| asn == 0) {
                asn = number;
            }
        }
        Place::new(country, asn)
    }
}

/// What can't be read is not known.
fn record(database: &Database, address: IpAddr) -> Option<Record<'_>> {
    let found = database.lookup(address).ok()?;
    found.decode::<Record<'_>>().ok().flatten()
}

impl Databases {
    /// At these paths; nothing is read yet.
    #[must_use]
    pub fn new(paths: &[PathBuf]) -> Self {
        let source = |path: &PathBuf| Source {
            path: path.clone(),
            seen: None,
            good: None,
        };
        Self(paths.iter().take(DATABASES_MAX).map(source).collect())
    }

    /// Reads what has changed; true when anything did.
    pub fn refresh(&mut self, metrics: &Metrics) -> bool {
        let mut changed = false;
        for source in &mut self.0 {
            changed |= source.refresh(metrics);
        }
        changed
    }

    /// Has requests see what there is.
    pub fn publish(&self, geo: &Geo) {
        let good = self.0.iter().filter_map(|source| source.good.clone());
        geo.0.store(Arc::new(good.collect()));
    }

    /// Follows the files for as long as the edge lives.
    pub async fn run(self, state: Arc<State>) {
        let mut databases = self;
        while !databases.0.is_empty() {
            tokio::time::sleep(LOOK).await;
            let metrics = Arc::clone(&state.metrics);
            let looked = tokio::task::spawn_blocking(move || {
                let changed = databases.refresh(&metrics);
                (databases, changed)
            });
            let Ok((after, changed)) = looked.await else {
                tracing::error!("reading databases of places failed by a bug: what was read stays");
                return;
            };
            databases = after;
            if changed {
                databases.publish(&state.geo);
            }
        }
    }
}

impl Source {
    /// True when there is another database now.
    fn refresh(&mut self, metrics: &Metrics) -> bool {
        let stamp = fs::metadata(&self.path).ok().map(|file| Stamp::of(&file));
        if self.seen.replace(stamp) == Some(stamp) {
            return false;
        }
        if stamp.is_none() && self.good.is_some() {
            // It is being replaced, or somebody took it away.
            return false;
        }
        match read(&self.path) {
            Ok(database) => {
                tracing::info!(path = %self.path.display(), kind = %database.metadata().database_type, "a database of places is read");
                metrics.geo_load("loaded");
                self.good = Some(Arc::new(database));
                true
            }
            Err(error) => {
                tracing::error!(path = %self.path.display(), %error, "a database of places is refused; the last good one serves on");
                metrics.geo_load("refused");
                false
            }
        }
    }
}

impl Stamp {
    fn of(file: &fs::Metadata) -> Self {
        Self {
            device: file.dev(),
            inode: file.ino(),
            bytes: file.size(),
            modified: (file.mtime(), file.mtime_nsec()),
        }
    }
}

/// Reads a database whole, and checks all of it: half a file must not be found out at a request.
fn read(path: &Path) -> Result<Database, Error> {
    let file = File::open(path)?;
    let bytes = file.metadata()?.len();
    if bytes > BYTES_MAX {
        return Err(Error::TooLarge(bytes));
    }
    let mut content = Vec::new();
    file.take(BYTES_MAX).read_to_end(&mut content)?;
    let database = Reader::from_source(content)?;
    database.verify()?;
    Ok(database)
}

#[cfg(test)]
mod tests;
