//! One JSON line per request. A bounded channel feeds a thread that writes; when the disk is slower
//! than the traffic, lines are dropped and counted, requests never wait. A file is rotated by size.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufWriter, Write},
    net::IpAddr,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
};

use chrono::{DateTime, Utc};
use domain::{
    id::{DeploymentId, InstanceId, ServiceId},
    name::Name,
};
use prometheus::IntCounter;
use serde::Serialize;

/// Lines that wait for the writer.
const WAITING: usize = 8192;
/// Of what a client may make as long as a head: a disk that hangs must not cost memory by the length of paths.
const TEXT_BYTES: usize = 1024;
/// A file is rotated beyond this size.
const FILE_BYTES: u64 = 64 << 20;
/// Rotated files that are kept: `access.log.1` is the newest.
const KEPT: u32 = 4;

/// A request, as logged.
#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    /// When its head was complete.
    pub time: DateTime<Utc>,
    /// `X-Request-Id`.
    pub request_id: String,
    /// W3C trace context that went on to the instance.
    pub traceparent: Option<String>,
    /// The user's address.
    pub client: IpAddr,
    /// The edge's region.
    pub region: Name,
    /// As the client wrote it.
    pub method: String,
    /// Normalized.
    pub host: Option<String>,
    /// Without the query, which may carry secrets.
    pub path: String,
    /// `HTTP/1.1` and so on.
    pub protocol: &'static str,
    /// `TLSv1.3` and so on.
    pub tls: Option<&'static str>,
    /// The answer's status; 0 when the client left before one.
    pub status: u16,
    /// The code when the edge answered itself.
    pub error: Option<&'static str>,
    /// The rule that ended the request, or let it through before others were asked.
    pub rule: Option<String>,
    /// The first rule that would have refused it, and only counts.
    pub rule_dry_run: Option<String>,
    /// True when the answer was cut.
    pub cut: bool,
    /// Bytes of the request's body.
    pub received: u64,
    /// Bytes of the answer's body.
    pub sent: u64,
    /// To the first byte of the answer.
    pub first_byte_ms: Option<f64>,
    /// To the end.
    pub duration_ms: f64,
    /// Attempts at instances and regions.
    pub tries: u32,
    /// The service.
    pub service_id: Option<ServiceId>,
    /// The deployment whose endpoint served.
    pub deployment_id: Option<DeploymentId>,
    /// The instance that served.
    pub instance_id: Option<InstanceId>,
    /// The region that it was forwarded to.
    pub forwarded_to: Option<Name>,
    /// The region that forwarded it here.
    pub forwarded_from: Option<Name>,
    /// Of the client.
    pub user_agent: Option<String>,
}

/// A client's text, as logged.
#[must_use]
pub fn cut(text: &str) -> String {
    let end = text.floor_char_boundary(TEXT_BYTES);
    text.get(..end).unwrap_or_default().to_owned()
}

/// Takes entries; never waits.
#[derive(Debug, Clone)]
pub struct AccessLog {
    lines: SyncSender<Box<Entry>>,
    dropped: IntCounter,
}

/// Why there is no access log.
#[derive(Debug, thiserror::Error)]
#[error("starting the access log's writer: {0}")]
pub struct Error(#[from] io::Error);

impl AccessLog {
    /// Starts the writer: to a file, or to standard output. While a file can't be opened (a disk that has become
    /// read-only) requests are served all the same.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(path: Option<&Path>, dropped: IntCounter) -> Result<Self, Error> {
        let sink = match path {
            Some(path) => Sink::File(LogFile::new(path)),
            None => Sink::Stdout(BufWriter::new(io::stdout())),
        };
        let (lines, waiting) = sync_channel(WAITING);
        let counter = dropped.clone();
        std::thread::Builder::new()
            .name("access-log".into())
            .spawn(move || write_all(&waiting, sink, &counter))?;
        Ok(Self { lines, dropped })
    }

    /// Logs a request, or drops and counts it.
    pub fn write(&self, entry: Box<Entry>) {
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) =
            self.lines.try_send(entry)
        {
            self.dropped.inc();
        }
    }
}

fn write_all(waiting: &Receiver<Box<Entry>>, mut sink: Sink, dropped: &IntCounter) {
    let mut failing = false;
    while let Ok(first) = waiting.recv() {
        let written = write_batch(first, waiting, &mut sink, dropped);
        match (&written, failing) {
            (Err(error), false) => tracing::error!(%error, "writing the access log"),
            (Ok(()), true) => tracing::info!("the access log is written again"),
            _ => {}
        }
        failing = written.is_err();
    }
}

fn write_batch(
    first: Box<Entry>,
    waiting: &Receiver<Box<Entry>>,
    sink: &mut Sink,
    dropped: &IntCounter,
) -> io::Result<()> {
    let (mut next, mut written) = (Some(first), Ok(()));
    while let Some(entry) = next {
        if let Err(error) = sink.line(&entry) {
            dropped.inc();
            written = Err(error);
        }
        next = waiting.try_recv().ok();
    }
    written.and(sink.flush())
}

enum Sink {
    Stdout(BufWriter<io::Stdout>),
    File(LogFile),
}

impl Sink {
    fn line(&mut self, entry: &Entry) -> io::Result<()> {
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        match self {
            Self::Stdout(out) => out.write_all(&line),
            Self::File(file) => file.write(&line),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout(out) => out.flush(),
            Self::File(LogFile { open, .. }) => open.as_mut().map_or(Ok(()), |o| o.file.flush()),
        }
    }
}

/// Opened with the first line that it takes.
struct LogFile {
    path: PathBuf,
    limit: u64,
    open: Option<Open>,
}

struct Open {
    file: BufWriter<File>,
    bytes: u64,
}

impl LogFile {
    fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            limit: FILE_BYTES,
            open: None,
        }
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let length = line.len() as u64;
        let open = match &mut self.open {
            Some(open) => open,
            None => self.open.insert(Open::at(&self.path)?),
        };
        if open.bytes > 0 && open.bytes + length > self.limit {
            open.file.flush()?;
            open.file = BufWriter::new(rotate(&self.path)?);
            open.bytes = 0;
        }
        open.bytes += length;
        open.file.write_all(line)
    }
}

impl Open {
    fn at(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Self {
            bytes: file.metadata()?.len(),
            file: BufWriter::new(file),
        })
    }
}

/// `x` → `x.1` → … → `x.4`, which is forgotten, once there is a new `x`: were it missing (no descriptor, a full disk),
/// each further attempt would forget one more.
fn rotate(path: &Path) -> io::Result<File> {
    let named = |end: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{end}"));
        PathBuf::from(name)
    };
    let numbered = |n: u32| named(&n.to_string());
    let new = named("new");
    let file = OpenOptions::new().create(true).append(true).open(&new)?;
    for n in (1..KEPT).rev() {
        rename_if_there(&numbered(n), &numbered(n + 1))?;
    }
    rename_if_there(path, &numbered(1))?;
    std::fs::rename(new, path)?;
    Ok(file)
}

fn rename_if_there(from: &Path, to: &Path) -> io::Result<()> {
    match std::fs::rename(from, to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str) -> Box<Entry> {
        Box::new(Entry {
            time: Utc::now(),
            request_id: "id".into(),
            traceparent: None,
            client: [127, 0, 0, 1].into(),
            region: "us-east".parse().unwrap(),
            method: "GET".into(),
            host: Some("a.test".into()),
            path: path.into(),
            protocol: "HTTP/1.1",
            tls: None,
            status: 200,
            error: None,
            rule: None,
            rule_dry_run: None,
            cut: false,
            received: 0,
            sent: 0,
            first_byte_ms: None,
            duration_ms: 1.0,
            tries: 1,
            service_id: None,
            deployment_id: None,
            instance_id: None,
            forwarded_to: None,
            forwarded_from: None,
            user_agent: None,
        })
    }

    fn with_limit(path: &Path, limit: u64) -> Sink {
        Sink::File(LogFile {
            limit,
            ..LogFile::new(path)
        })
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_opened_when_it_can() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("not-there-yet");
        let dropped = IntCounter::new("dropped", "x").unwrap();
        let log = AccessLog::start(Some(&folder.join("access.log")), dropped.clone()).unwrap();
        let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
        let log_until = |holds: &dyn Fn() -> bool| {
            while !holds() {
                assert!(std::time::Instant::now() < end, "not within 10 s");
                log.write(entry("/"));
                std::thread::yield_now();
            }
        };
        log_until(&|| dropped.get() > 0);
        std::fs::create_dir(&folder).unwrap();
        let has_lines = || std::fs::read(folder.join("access.log")).is_ok_and(|b| !b.is_empty());
        log_until(&has_lines);
    }

    #[test]
    fn a_file_is_rotated_by_size_and_few_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.log");
        let mut sink = with_limit(&path, 600);
        for n in 0..20 {
            sink.line(&entry(&format!("/{n}"))).unwrap();
        }
        sink.flush().unwrap();
        let mut names: Vec<_> = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(
            names,
            [
                "access.log",
                "access.log.1",
                "access.log.2",
                "access.log.3",
                "access.log.4"
            ]
        );
        let newest = std::fs::read_to_string(&path).unwrap();
        let last: serde_json::Value = serde_json::from_str(newest.lines().last().unwrap()).unwrap();
        assert_eq!(last["path"], "/19");
    }

    #[test]
    fn a_rotation_that_fails_forgets_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.log");
        let mut sink = with_limit(&path, 100);
        sink.line(&entry("/first")).unwrap();
        // As without a descriptor for the new file.
        let in_the_way = dir.path().join("access.log.new");
        std::fs::create_dir(&in_the_way).unwrap();
        for _ in 0..10 {
            sink.line(&entry("/lost")).unwrap_err();
        }
        std::fs::remove_dir(in_the_way).unwrap();
        sink.line(&entry("/last")).unwrap();
        sink.flush().unwrap();
        let has = |name: &str, path| {
            let text = std::fs::read_to_string(dir.path().join(name)).unwrap();
            assert!(text.contains(path) && text.lines().count() == 1, "{text}");
        };
        has("access.log.1", "/first");
        has("access.log", "/last");
    }

    #[test]
    fn lines_that_the_disk_refuses_are_counted() {
        let dropped = IntCounter::new("dropped", "x").unwrap();
        let full = Path::new("/dev/full");
        let log = AccessLog::start(Some(full), dropped.clone()).unwrap();
        let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while dropped.get() == 0 {
            assert!(std::time::Instant::now() < end, "no line is counted");
            log.write(entry("/"));
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_slow_writer_drops_and_counts() {
        let (lines, _never_read) = sync_channel(1);
        let dropped = IntCounter::new("dropped", "x").unwrap();
        let log = AccessLog {
            lines,
            dropped: dropped.clone(),
        };
        for _ in 0..3 {
            log.write(entry("/"));
        }
        assert_eq!(dropped.get(), 2);
    }
}
