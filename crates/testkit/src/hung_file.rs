//! A file on a disk that hangs: whoever writes or reads it waits until the disk is healed.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    path::Path,
    process::Command,
    sync::mpsc::{Receiver, Sender, channel},
    thread::{self, JoinHandle},
    time::Duration,
};

/// A runtime that hangs with the disk can't heal it; then it heals by itself, and the test fails.
const PATIENCE: Duration = Duration::from_secs(10);

/// A named pipe: it can't be opened on the one side before it is on the other.
pub struct HungFile {
    heal: Sender<()>,
    other_side: JoinHandle<io::Result<Healed>>,
}

struct Healed {
    in_time: bool,
    content: Vec<u8>,
}

impl HungFile {
    /// In the place of a file that is to be written and is not there yet.
    ///
    /// # Panics
    /// When it can't be made.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        Self::new(path, |path| {
            let mut written = Vec::new();
            File::open(path)?.read_to_end(&mut written)?;
            Ok(written)
        })
    }

    /// In the place of a file with this content.
    ///
    /// # Panics
    /// When it can't be made.
    #[must_use]
    pub fn holding(path: &Path, content: &[u8]) -> Self {
        let content = content.to_owned();
        Self::new(path, |path| {
            OpenOptions::new()
                .write(true)
                .open(path)?
                .write_all(&content)?;
            Ok(content)
        })
    }

    fn new(
        path: &Path,
        other_side: impl FnOnce(&Path) -> io::Result<Vec<u8>> + Send + 'static,
    ) -> Self {
        let made = Command::new("mkfifo").arg(path).status().unwrap();
        assert!(made.success(), "mkfifo {}: {made}", path.display());
        let (heal, healed) = channel();
        let path = path.to_owned();
        let other_side = thread::spawn(move || end(&path, &healed, other_side));
        Self { heal, other_side }
    }

    /// Lets those who wait go on, and returns what they wrote or read. A pipe can't be synced: whoever insists on
    /// that has failed. The file is gone then, and the next write finds a sound disk.
    ///
    /// # Panics
    /// When that came too late, or nothing can be written or read.
    #[must_use]
    pub fn heal(self) -> Vec<u8> {
        // Nobody listens any more when it is too late.
        let _ = self.heal.send(());
        let healed = self.other_side.join().unwrap().unwrap();
        assert!(healed.in_time, "all hung with the disk");
        healed.content
    }
}

fn end(
    path: &Path,
    healed: &Receiver<()>,
    other_side: impl FnOnce(&Path) -> io::Result<Vec<u8>>,
) -> io::Result<Healed> {
    let in_time = healed.recv_timeout(PATIENCE).is_ok();
    let content = other_side(path)?;
    fs::remove_file(path)?;
    Ok(Healed { in_time, content })
}
