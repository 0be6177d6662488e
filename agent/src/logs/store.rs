//! All sources on one node, within one budget of disk. When it is spent, the source that holds most
//! loses its oldest lines, and the gap is counted: a noisy program can't push out a quiet one.

use std::{collections::BTreeMap, io, path::PathBuf};

use chrono::{DateTime, Utc};
use protocol::log::{LogBatch, LogLine, LogSource};

use super::spool::Spool;

/// The lines of all sources.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    budget_bytes: u64,
    bytes: u64,
    spools: BTreeMap<String, Spool>,
    /// The source served last, so that all get their turn.
    served: String,
}

impl Store {
    /// Opens what earlier runs left. A source whose files can't be read waits for a later run.
    ///
    /// # Errors
    /// When the folder can't be read.
    pub fn open(root: PathBuf, budget_bytes: u64) -> io::Result<Self> {
        std::fs::create_dir_all(&root)?;
        let mut spools = BTreeMap::new();
        for entry in std::fs::read_dir(&root)? {
            let entry = entry?;
            if let Some(key) = entry.file_name().to_str()
                && parse(key).is_some()
            {
                match Spool::open(entry.path()) {
                    Ok(spool) => drop(spools.insert(key.to_owned(), spool)),
                    Err(error) => {
                        tracing::error!(%key, %error, "kept log lines can't be read");
                    }
                }
            }
        }
        Ok(Self {
            root,
            budget_bytes,
            bytes: spools.values().map(Spool::bytes).sum(),
            spools,
            served: String::new(),
        })
    }

    /// Writes lines; a disk that refuses them costs the lines, which are counted, not the agent.
    pub fn append(&mut self, source: LogSource, lines: &[LogLine], dropped: u64) {
        let result = self
            .spool(source)
            .and_then(|spool| spool.append(lines, dropped));
        match result {
            Ok(bytes) => self.bytes += bytes,
            Err(error) => {
                tracing::error!(?source, %error, lines = lines.len(), "log lines are lost: the disk refused them");
            }
        }
        while self.bytes > self.budget_bytes && self.evict() {}
    }

    /// No more lines will come from this source.
    pub fn end(&mut self, source: LogSource) {
        if let Some(spool) = self.spools.get_mut(&key(source)) {
            spool.ended = true;
        }
        self.remove_done(&key(source));
    }

    /// Ends every source that `lives` refuses.
    pub fn end_others(&mut self, lives: impl Fn(LogSource) -> bool) {
        let gone: Vec<LogSource> = self
            .spools
            .keys()
            .filter_map(|key| parse(key))
            .filter(|source| !lives(*source))
            .collect();
        for source in gone {
            self.end(source);
        }
    }

    /// Time of a source's newest line.
    #[must_use]
    pub fn last_line_at(&self, source: LogSource) -> Option<DateTime<Utc>> {
        self.spools.get(&key(source))?.last_line_at
    }

    /// Lines that the control plane doesn't have yet, of the source whose turn it is.
    pub fn next_batch(&mut self) -> Option<LogBatch> {
        let (before, after): (Vec<String>, Vec<String>) = self
            .spools
            .keys()
            .cloned()
            .partition(|key| *key <= self.served);
        let (key, batch) = after
            .into_iter()
            .chain(before)
            .find_map(|key| Some((key.clone(), self.batch(&key)?)))?;
        self.served = key;
        Some(batch)
    }

    fn batch(&mut self, key: &str) -> Option<LogBatch> {
        let spool = self.spools.get_mut(key)?;
        let pending = match spool.pending() {
            Ok(pending) => pending?,
            Err(error) if !is_damage(&error) => {
                tracing::warn!(%key, %error, "log lines can't be read now and wait");
                return None;
            }
            Err(error) => {
                tracing::error!(%key, %error, "log lines are lost: their file is damaged");
                let freed = spool.evict().unwrap_or(0);
                self.bytes = self.bytes.saturating_sub(freed);
                return None;
            }
        };
        Some(LogBatch {
            source: parse(key)?,
            first_line: pending.first_line,
            lines: pending.lines,
            dropped: pending.dropped,
        })
    }

    /// The control plane has these lines.
    pub fn acknowledge(&mut self, batch: &LogBatch) {
        let key = key(batch.source);
        if let Some(spool) = self.spools.get_mut(&key) {
            match spool.acknowledge(batch.first_line, batch.lines.len()) {
                Ok(freed) => self.bytes = self.bytes.saturating_sub(freed),
                Err(error) => tracing::error!(%key, %error, "can't note shipped log lines"),
            }
        }
        self.remove_done(&key);
    }

    fn spool(&mut self, source: LogSource) -> io::Result<&mut Spool> {
        let key = key(source);
        if !self.spools.contains_key(&key) {
            let spool = Spool::open(self.root.join(&key))?;
            self.spools.insert(key.clone(), spool);
        }
        self.spools
            .get_mut(&key)
            .ok_or_else(|| io::Error::other("just opened"))
    }

    /// The newest segment of each source stays: lines after a gap tell of the gap.
    fn evict(&mut self) -> bool {
        let spools = self
            .spools
            .iter_mut()
            .filter(|(_, spool)| spool.has_older());
        let Some((key, spool)) = spools.max_by_key(|(_, spool)| spool.bytes()) else {
            return false;
        };
        match spool.evict() {
            Ok(freed) => {
                self.bytes = self.bytes.saturating_sub(freed);
                freed > 0
            }
            Err(error) => {
                tracing::error!(%key, %error, "can't remove old log lines");
                false
            }
        }
    }

    fn remove_done(&mut self, key: &str) {
        if !self.spools.get(key).is_some_and(Spool::is_done) {
            return;
        }
        if let Some(spool) = self.spools.remove(key) {
            match spool.remove() {
                Ok(freed) => self.bytes = self.bytes.saturating_sub(freed),
                Err(error) => tracing::error!(%key, %error, "can't remove shipped logs"),
            }
        }
    }
}

/// And not a disk, or a process without descriptors, that may let itself be asked again.
fn is_damage(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, NotFound, UnexpectedEof};
    matches!(error.kind(), InvalidData | NotFound | UnexpectedEof)
}

fn key(source: LogSource) -> String {
    match source {
        LogSource::Instance(id) => id.to_string(),
        LogSource::Build(id) => id.to_string(),
    }
}

fn parse(key: &str) -> Option<LogSource> {
    let instance = key.parse().map(LogSource::Instance);
    instance.or_else(|_| key.parse().map(LogSource::Build)).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap as Map;

    use domain::id::InstanceId;
    use proptest::prelude::*;
    use protocol::log::Stream;

    use super::*;

    fn line(text: String) -> LogLine {
        LogLine {
            at: Utc::now(),
            stream: Stream::Stderr,
            text,
        }
    }

    fn drain(store: &mut Store, told: &mut Map<String, u64>) {
        while let Some(batch) = store.next_batch() {
            *told.entry(key(batch.source)).or_default() += batch.dropped + batch.lines.len() as u64;
            store.acknowledge(&batch);
        }
    }

    #[test]
    fn a_noisy_source_loses_its_own_lines_only() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(folder.path().to_owned(), 4 << 20).unwrap();
        let quiet = LogSource::Instance(InstanceId::new());
        let noisy = LogSource::Instance(InstanceId::new());
        store.append(quiet, &[line("hello".into())], 0);
        for _ in 0..100 {
            store.append(noisy, &vec![line("x".repeat(1000)); 100], 0);
        }
        assert!(store.bytes <= 4 << 20);
        let mut told = Map::new();
        drain(&mut store, &mut told);
        assert_eq!(told[&key(quiet)], 1);
        assert_eq!(told[&key(noisy)], 10_000);
    }

    #[test]
    fn an_ended_source_leaves_nothing_on_disk_once_shipped() {
        let folder = tempfile::tempdir().unwrap();
        let source = LogSource::Instance(InstanceId::new());
        let mut store = Store::open(folder.path().to_owned(), 1 << 20).unwrap();
        store.append(source, &[line("bye".into())], 0);
        store.end(source);
        let batch = store.next_batch().unwrap();
        assert!(std::fs::read_dir(folder.path()).unwrap().next().is_some());
        store.acknowledge(&batch);
        assert!(std::fs::read_dir(folder.path()).unwrap().next().is_none());
    }

    #[test]
    fn a_source_that_cannot_be_read_keeps_no_other_from_being_shipped() {
        let folder = tempfile::tempdir().unwrap();
        let sources = [(); 2].map(|()| LogSource::Instance(InstanceId::new()));
        let open = || Store::open(folder.path().to_owned(), 1 << 20).unwrap();
        open().append(sources[0], &[line("hello".into())], 0);
        let segment = format!("{:020}.ndjson", 0);
        std::fs::create_dir_all(folder.path().join(key(sources[1])).join(segment)).unwrap();
        assert_eq!(open().next_batch().unwrap().source, sources[0]);
    }

    #[test]
    fn lines_that_cannot_be_read_now_wait_and_damaged_ones_are_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let source = LogSource::Instance(InstanceId::new());
        let mut store = Store::open(folder.path().to_owned(), 1 << 20).unwrap();
        store.append(source, &[line("patient".into())], 0);
        let file = folder
            .path()
            .join(key(source))
            .join(format!("{:020}.ndjson", 0));
        let content = std::fs::read(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        // It can't be read for another reason than its content.
        std::fs::create_dir(&file).unwrap();
        assert!(store.next_batch().is_none());
        std::fs::remove_dir(&file).unwrap();
        std::fs::write(&file, &content).unwrap();
        assert_eq!(store.next_batch().unwrap().lines.len(), 1);

        std::fs::write(&file, "x".repeat(content.len())).unwrap();
        assert!(store.next_batch().is_none());
        assert!(!file.exists());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(8))]
        #[test]
        fn every_line_is_shipped_or_counted_across_restarts(steps in proptest::collection::vec((0_usize..3, 1_usize..400, any::<bool>()), 1..30)) {
            let folder = tempfile::tempdir().unwrap();
            let sources: Vec<LogSource> = (0..3).map(|_| LogSource::Instance(InstanceId::new())).collect();
            let open = || Store::open(folder.path().to_owned(), 2 << 20).unwrap();
            let (mut store, mut told, mut written) = (open(), Map::new(), Map::new());
            for (source, count, restart) in steps {
                let source = sources[source];
                store.append(source, &vec![line("y".repeat(2000)); count], 0);
                *written.entry(key(source)).or_insert(0_u64) += count as u64;
                if restart {
                    store = open();
                } else if let Some(batch) = store.next_batch() {
                    *told.entry(key(batch.source)).or_default() += batch.dropped + batch.lines.len() as u64;
                    store.acknowledge(&batch);
                }
            }
            drain(&mut store, &mut told);
            prop_assert_eq!(told, written);
        }
    }
}
