//! The lines of one source on disk: numbered, in segments of 1 MiB, with the position up to which
//! they were shipped. What a write that broke off has left (power loss, a full disk) is no part of it.

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, Read as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use chrono::{DateTime, Utc};
use protocol::log::LogLine;
use serde::{Deserialize, Serialize};

const SEGMENT_BYTES: u64 = 1 << 20;
const BATCH_LINES: usize = 1000;
const BATCH_BYTES: usize = 1 << 20;
/// Of one line, as [`LogLine::text`] says.
const TEXT_BYTES: usize = 16 * 1024;
const POSITION: &str = "position.json";

/// One source's lines.
#[derive(Debug)]
pub(super) struct Spool {
    folder: PathBuf,
    segments: VecDeque<Segment>,
    /// Number of the next line that will be written.
    next: u64,
    position: Position,
    /// Lost before the next line that will be written.
    dropped: u64,
    pub(super) last_line_at: Option<DateTime<Utc>>,
    pub(super) ended: bool,
}

#[derive(Debug)]
struct Segment {
    first: u64,
    bytes: u64,
}

/// Up to where the control plane has the lines.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Position {
    next: u64,
    /// Evicted before they were shipped, not told yet.
    evicted: u64,
}

/// A line as it stands in a segment.
#[derive(Serialize, Deserialize)]
struct Record {
    /// Lost before this line.
    #[serde(default, skip_serializing_if = "is_zero")]
    dropped: u64,
    #[serde(flatten)]
    line: LogLine,
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Lines to ship.
pub(super) struct Pending {
    pub(super) first_line: u64,
    pub(super) lines: Vec<LogLine>,
    pub(super) dropped: u64,
}

impl Spool {
    pub(super) fn open(folder: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        let mut firsts: Vec<u64> = fs::read_dir(&folder)?
            .filter_map(|entry| entry.ok()?.path().file_stem()?.to_str()?.parse().ok())
            .collect();
        firsts.sort_unstable();
        let mut spool = Self {
            position: read_position(&folder.join(POSITION))?,
            folder,
            segments: VecDeque::new(),
            next: 0,
            dropped: 0,
            last_line_at: None,
            ended: false,
        };
        // A position that a power loss has set back: lines before the first segment had been given up or shipped.
        let first = firsts.first().copied().unwrap_or_default();
        spool.position.next = spool.position.next.max(first);
        spool.next = spool.position.next;
        let last = firsts.pop();
        for first in firsts {
            let bytes = fs::metadata(spool.path(first))?.len();
            spool.segments.push_back(Segment { first, bytes });
        }
        if let Some(first) = last {
            let bytes = spool.whole(first)?;
            spool.segments.push_back(Segment { first, bytes });
        }
        Ok(spool)
    }

    /// So much of the last segment is whole lines; learns from them the next number and the last time.
    fn whole(&mut self, first: u64) -> io::Result<u64> {
        let bytes = fs::read(self.path(first))?;
        let whole = bytes
            .iter()
            .rposition(|b| *b == b'\n')
            .map_or(0, |at| at + 1);
        let lines: Vec<&[u8]> = bytes
            .get(..whole)
            .unwrap_or_default()
            .split_inclusive(|b| *b == b'\n')
            .collect();
        self.next = self.next.max(first + lines.len() as u64);
        self.last_line_at = lines
            .last()
            .and_then(|line| serde_json::from_slice::<Record>(line).ok())
            .map(|record| record.line.at);
        Ok(whole as u64)
    }

    /// Lines that the disk refuses are told as dropped before the next that it takes.
    pub(super) fn append(&mut self, lines: &[LogLine], dropped: u64) -> io::Result<u64> {
        self.dropped += dropped;
        let bytes = encode(lines, self.dropped)?;
        if bytes.is_empty() {
            return Ok(0);
        }
        if let Err(error) = self.write(&bytes) {
            self.dropped += lines.len() as u64;
            return Err(error);
        }
        self.dropped = 0;
        self.next += lines.len() as u64;
        self.last_line_at = lines.last().map(|line| line.at);
        Ok(bytes.len() as u64)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let first = self.active_segment();
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(self.path(first))?;
        if let Some(segment) = self.segments.back_mut() {
            // What a write that broke off has left behind.
            file.set_len(segment.bytes)?;
            file.write_all_at(bytes, segment.bytes)?;
            segment.bytes += bytes.len() as u64;
        }
        Ok(())
    }

    fn active_segment(&mut self) -> u64 {
        match self.segments.back() {
            Some(segment) if segment.bytes < SEGMENT_BYTES => segment.first,
            _ => {
                self.segments.push_back(Segment {
                    first: self.next,
                    bytes: 0,
                });
                self.next
            }
        }
    }

    /// The next lines to ship; a gap in the middle ends a batch, so that it is told in its place.
    pub(super) fn pending(&self) -> io::Result<Option<Pending>> {
        if self.position.next >= self.next {
            return Ok(None);
        }
        let Some(segment) = self
            .segments
            .iter()
            .rev()
            .find(|segment| segment.first <= self.position.next)
        else {
            return Ok(None);
        };
        let mut pending = Pending {
            first_line: self.position.next,
            lines: Vec::new(),
            dropped: self.position.evicted,
        };
        let mut bytes = 0;
        for line in self.reader(segment)? {
            let line = line?;
            let record: Record = serde_json::from_str(&line)?;
            bytes += line.len();
            let full = pending.lines.len() >= BATCH_LINES || bytes > BATCH_BYTES;
            if !pending.lines.is_empty() && (full || record.dropped > 0) {
                break;
            }
            pending.dropped += record.dropped;
            pending.lines.push(record.line);
        }
        Ok((!pending.lines.is_empty()).then_some(pending))
    }

    /// Lines of a segment from the position on.
    fn reader(
        &self,
        segment: &Segment,
    ) -> io::Result<impl Iterator<Item = io::Result<String>> + use<>> {
        let file = File::open(self.path(segment.first))?.take(segment.bytes);
        let shipped = self.position.next - segment.first;
        let shipped = usize::try_from(shipped).unwrap_or(usize::MAX);
        Ok(BufReader::new(file).lines().skip(shipped))
    }

    /// The control plane has these lines. Segments that it has whole are removed, but not the last:
    /// it tells where to go on reading. Answers how many bytes went.
    pub(super) fn acknowledge(&mut self, first_line: u64, lines: usize) -> io::Result<u64> {
        if first_line != self.position.next {
            return Ok(0);
        }
        self.position = Position {
            next: first_line + lines as u64,
            evicted: 0,
        };
        self.write_position()?;
        let mut freed = 0;
        while self
            .segments
            .get(1)
            .is_some_and(|second| second.first <= self.position.next)
        {
            freed += self.remove_first()?;
        }
        Ok(freed)
    }

    /// Gives up the oldest segment for room on the disk. Answers how many bytes went.
    pub(super) fn evict(&mut self) -> io::Result<u64> {
        let end = self
            .segments
            .get(1)
            .map_or(self.next, |second| second.first);
        let lost = end.saturating_sub(self.position.next);
        if lost > 0 {
            self.position = Position {
                next: end,
                evicted: self.position.evicted + lost,
            };
            self.write_position()?;
        }
        self.remove_first()
    }

    /// There is more than the segment that is being written.
    pub(super) fn has_older(&self) -> bool {
        self.segments.len() > 1
    }

    pub(super) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// Nothing more will come and everything is shipped.
    pub(super) fn is_done(&self) -> bool {
        self.ended && self.position.next >= self.next
    }

    pub(super) fn remove(self) -> io::Result<u64> {
        fs::remove_dir_all(&self.folder)?;
        Ok(self.bytes())
    }

    fn remove_first(&mut self) -> io::Result<u64> {
        let Some(segment) = self.segments.pop_front() else {
            return Ok(0);
        };
        fs::remove_file(self.path(segment.first))?;
        Ok(segment.bytes)
    }

    /// Not synced: a position that is too old makes a batch come twice, and the store knows it by
    /// its first line.
    fn write_position(&self) -> io::Result<()> {
        let beside = self.folder.join("position.new");
        fs::write(&beside, serde_json::to_vec(&self.position)?)?;
        fs::rename(beside, self.folder.join(POSITION))
    }

    fn path(&self, first: u64) -> PathBuf {
        self.folder.join(format!("{first:020}.ndjson"))
    }
}

fn encode(lines: &[LogLine], mut dropped: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for line in lines {
        let record = Record {
            dropped: std::mem::take(&mut dropped),
            line: LogLine {
                text: cut(&line.text).to_owned(),
                ..line.clone()
            },
        };
        serde_json::to_writer(&mut bytes, &record)?;
        bytes.push(b'\n');
    }
    Ok(bytes)
}

fn read_position(path: &Path) -> io::Result<Position> {
    match fs::read(path) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).unwrap_or_default()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Position::default()),
        Err(error) => Err(error),
    }
}

fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(TEXT_BYTES))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
