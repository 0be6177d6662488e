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

/// Takes entries; never waits.
#[derive(Debug, Clone)]
pub struct AccessLog {
    lines: SyncSender<Box<Entry>>,
    dropped: IntCounter,
}

/// Why no access log can be written.
#[derive(Debug, thiserror::Error)]
#[error("opening the access log {path}: {source}")]
pub struct Error {
    path: PathBuf,
    source: io::Error,
}

impl AccessLog {
    /// Starts the writer: to a file, or to standard output.
    ///
    /// # Errors
    /// When the file can't be opened for writing.
    pub fn start(path: Option<&Path>, dropped: IntCounter) -> Result<Self, Error> {
        let sink = match path {
            Some(path) => Sink::file(path).map_err(|source| Error {
                path: path.to_owned(),
                source,
            })?,
            None => Sink::Stdout(BufWriter::new(io::stdout())),
        };
        let (lines, waiting) = sync_channel(WAITING);
        std::thread::Builder::new()
            .name("access-log".into())
            .spawn({
                let dropped = dropped.clone();
                move || write_all(&waiting, sink, &dropped)
            })
            .map_err(|source| Error {
                path: path.map(Path::to_owned).unwrap_or_default(),
                source,
            })?;
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
    File {
        path: PathBuf,
        file: BufWriter<File>,
        bytes: u64,
        limit: u64,
    },
}

impl Sink {
    fn file(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let bytes = file.metadata()?.len();
        Ok(Self::File {
            path: path.to_owned(),
            file: BufWriter::new(file),
            bytes,
            limit: FILE_BYTES,
        })
    }

    fn line(&mut self, entry: &Entry) -> io::Result<()> {
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        match self {
            Self::Stdout(out) => out.write_all(&line),
            Self::File {
                path,
                file,
                bytes,
                limit,
            } => {
                if *bytes + line.len() as u64 > *limit && *bytes > 0 {
                    file.flush()?;
                    *file = BufWriter::new(rotate(path)?);
                    *bytes = 0;
                }
                *bytes += line.len() as u64;
                file.write_all(&line)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout(out) => out.flush(),
            Self::File { file, .. } => file.flush(),
        }
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

    #[test]
    fn a_file_is_rotated_by_size_and_few_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.log");
        let mut sink = Sink::file(&path).unwrap();
        if let Sink::File { limit, .. } = &mut sink {
            *limit = 600;
        }
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
        let mut sink = Sink::file(&path).unwrap();
        if let Sink::File { limit, .. } = &mut sink {
            *limit = 100;
        }
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
