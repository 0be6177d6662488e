//! What a process tells its supervisor: read at once, for sockets that lie unread in a message are open.

use std::{
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, channel},
    thread,
};

/// The last message.
const END: &[u8] = b"END";

pub struct Supervisor {
    messages: Receiver<String>,
    path: PathBuf,
}

impl Supervisor {
    /// Listens there, in place of an earlier one.
    pub fn listen(path: &Path) -> Self {
        let _ = std::fs::remove_file(path);
        let socket = UnixDatagram::bind(path).unwrap();
        let (sender, messages) = channel();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length) = socket.recv(&mut buffer) {
                let message = &buffer[..length];
                if message == END
                    || sender
                        .send(String::from_utf8_lossy(message).into())
                        .is_err()
                {
                    return;
                }
            }
        });
        Self {
            messages,
            path: path.to_owned(),
        }
    }

    /// Of the lines that have come, the first that begins so: the rest of it.
    pub fn next(&self, begin: &str) -> Option<String> {
        let lines = |message: String| message.lines().map(str::to_owned).collect::<Vec<_>>();
        let mut lines = self.messages.try_iter().flat_map(lines);
        lines.find_map(|line| Some(line.strip_prefix(begin)?.to_owned()))
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        if let Ok(socket) = UnixDatagram::unbound() {
            let _ = socket.send_to(END, &self.path);
        }
    }
}
