//! What processes say of themselves: written to another disk for a while, and read.

use std::{
    fs::{self, OpenOptions},
    io::{Seek as _, SeekFrom, Write as _},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use chrono::{DateTime, Utc};
use e2e::platform::Platform;
use serde_json::Value;

/// A log that is elsewhere, while its process is held and starts again.
pub struct Log {
    path: PathBuf,
    kept: PathBuf,
    elsewhere: PathBuf,
}

impl Log {
    pub fn move_to(folder: &Path, path: PathBuf) -> Result<Self> {
        let name = path.file_name().context("a log has a name")?;
        let log = Self {
            kept: path.with_extension("kept"),
            elsewhere: folder.join(name),
            path,
        };
        fs::rename(&log.path, &log.kept).context("moving a log")?;
        symlink(&log.elsewhere, &log.path).context("moving a log")?;
        Ok(log)
    }

    /// With what was written meanwhile.
    pub fn move_back(&self) -> Result<()> {
        let meanwhile = fs::read(&self.elsewhere).context("reading a moved log")?;
        fs::remove_file(&self.elsewhere)?;
        fs::remove_file(&self.path)?;
        fs::rename(&self.kept, &self.path).context("moving a log back")?;
        let mut log = OpenOptions::new().append(true).open(&self.path)?;
        log.write_all(&meanwhile).context("moving a log back")
    }
}

/// The log of one process, from now on.
pub struct Tail {
    process: String,
    path: PathBuf,
    from: u64,
}

impl Tail {
    pub fn of(platform: &Platform, process: &str) -> Result<Self> {
        let data = platform.status.ca_file.parent().context("no data folder")?;
        let path = data.join("log").join(format!("{process}.log"));
        let from = fs::metadata(&path)
            .with_context(|| format!("looking at {}", path.display()))?
            .len();
        Ok(Self {
            process: process.to_owned(),
            path,
            from,
        })
    }

    /// What the process has said.
    pub fn text(&self) -> Result<String> {
        let mut file = fs::File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.from))?;
        std::io::read_to_string(file).with_context(|| format!("reading {}", self.path.display()))
    }

    /// When the process thinks that it said something.
    pub fn times(&self) -> Result<Vec<DateTime<Utc>>> {
        let text = self.text()?;
        let lines = text.lines().filter_map(|line| {
            let line: Value = serde_json::from_str(line).ok()?;
            line["timestamp"].as_str()?.parse().ok()
        });
        Ok(lines.collect())
    }

    /// Where it says that a certificate was refused.
    pub fn refused_certificates(&self) -> Result<Vec<String>> {
        let text = self.text()?;
        let refused = text.lines().filter(|line| refuses_a_certificate(line));
        Ok(refused
            .map(|line| format!("{}: {line}", self.process))
            .collect())
    }
}

/// As rustls says it of a peer's, and as a peer says it of one's own.
fn refuses_a_certificate(line: &str) -> bool {
    let signs = [
        "invalid peer certificate",
        "fatal alert: CertificateExpired",
        "fatal alert: BadCertificate",
    ];
    signs.iter().any(|sign| line.contains(sign))
}

#[test]
fn a_refused_certificate_is_seen() {
    let refused = r#"{"error":"invalid peer certificate: Expired"}"#;
    assert!(refuses_a_certificate(refused));
    assert!(refuses_a_certificate(
        r#"{"error":"received fatal alert: CertificateExpired"}"#
    ));
    let accepted = "a peer's certificate is outside its validity; it is accepted";
    assert!(!refuses_a_certificate(accepted));
}
