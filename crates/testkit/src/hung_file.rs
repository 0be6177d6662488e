//! A file on a disk that hangs: whoever writes it waits until the disk is healed.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::Path,
    process::Command,
    sync::mpsc::{Receiver, Sender, channel},
    thread::{self, JoinHandle},
    time::Duration,
};

/// A runtime that hangs with the disk can't heal it; then it heals by itself, and the test fails.
const PATIENCE: Duration = Duration::from_secs(10);

/// A named pipe: it can't be opened for writing before somebody reads it.
pub struct HungFile {
    heal: Sender<()>,
    reader: JoinHandle<io::Result<Read>>,
}

struct Read {
    in_time: bool,
    content: Vec<u8>,
}

impl HungFile {
    /// In the place of a file that is not there yet.
    ///
    /// # Panics
    /// When it can't be made.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        let made = Command::new("mkfifo").arg(path).status().unwrap();
        assert!(made.success(), "mkfifo {}: {made}", path.display());
        let (heal, healed) = channel();
        let path = path.to_owned();
        let reader = thread::spawn(move || read(&path, &healed));
        Self { heal, reader }
    }

    /// Lets the writers go on, and returns what all that have waited wrote. A pipe can't be synced: whoever insists on
    /// that has failed. The file is gone then, and the next write finds a sound disk.
    ///
    /// # Panics
    /// When that came too late, or nothing can be read.
    #[must_use]
    pub fn heal(self) -> Vec<u8> {
        // Nobody listens any more when it is too late.
        let _ = self.heal.send(());
        let read = self.reader.join().unwrap().unwrap();
        assert!(read.in_time, "all hung with the disk");
        read.content
    }
}

fn read(path: &Path, healed: &Receiver<()>) -> io::Result<Read> {
    let in_time = healed.recv_timeout(PATIENCE).is_ok();
    let mut content = Vec::new();
    File::open(path)?.read_to_end(&mut content)?;
    fs::remove_file(path)?;
    Ok(Read { in_time, content })
}
