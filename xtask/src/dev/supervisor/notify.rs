//! The receiving end of systemd's notification protocol (sd_notify(3)): datagrams of `NAME=value` lines
//! on a socket of the process's own.

use std::{
    fs,
    io::ErrorKind,
    os::unix::{fs::PermissionsExt as _, net::UnixDatagram},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

/// A socket that one process notifies.
pub struct NotifySocket {
    socket: UnixDatagram,
    path: PathBuf,
}

/// What one datagram said, as far as it matters here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Message {
    /// `READY=1`.
    pub ready: bool,
    /// `WATCHDOG=1`.
    pub watchdog: bool,
    /// `MAINPID=` of the process that has taken over from the one before.
    pub main_pid: Option<i32>,
}

impl NotifySocket {
    /// Listens at `path`, in place of an earlier socket there.
    pub fn bind(path: &Path) -> Result<Self> {
        let folder = path.parent().context("a socket without a folder")?;
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("removing {}", path.display()));
            }
            _ => {}
        }
        let socket =
            UnixDatagram::bind(path).with_context(|| format!("listening at {}", path.display()))?;
        // PostgreSQL runs as a user of its own and must be able to write here.
        fs::set_permissions(path, fs::Permissions::from_mode(0o666))?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            path: path.to_owned(),
        })
    }

    /// Where the process finds it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Everything that has come since the last call.
    pub fn read(&self) -> Result<Vec<Message>> {
        let mut found = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            match self.socket.recv(&mut buffer) {
                Ok(length) => found.push(parse(buffer.get(..length).unwrap_or_default())),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(found),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn parse(datagram: &[u8]) -> Message {
    let text = String::from_utf8_lossy(datagram);
    let says = |what: &str| text.lines().any(|line| line.trim() == what);
    Message {
        ready: says("READY=1"),
        watchdog: says("WATCHDOG=1"),
        main_pid: text
            .lines()
            .find_map(|line| line.trim().strip_prefix("MAINPID=")?.parse().ok()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_told_apart() {
        let message = |ready, watchdog| Message {
            ready,
            watchdog,
            main_pid: None,
        };
        assert_eq!(parse(b"READY=1\nSTATUS=up\n"), message(true, false));
        assert_eq!(parse(b"WATCHDOG=1"), message(false, true));
        assert_eq!(parse(b"STATUS=READY=1"), message(false, false));
        assert_eq!(parse(b"\xff\xfe"), message(false, false));
        assert_eq!(parse(b"MAINPID=12\n").main_pid, Some(12));
        assert_eq!(parse(b"MAINPID=me").main_pid, None);
    }
}
