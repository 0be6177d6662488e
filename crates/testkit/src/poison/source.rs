//! A feed as a control plane sends it that has lost its mind: poison to whoever is connected, and the newest right
//! document to whoever connects.

use std::time::Duration;

use futures::stream::{self, Stream};
use protocol::feed::{Commit, DropCause, writer};
use tokio::{sync::mpsc, time::timeout};

use super::{Forge, Items};

/// As the control plane does (`control_plane::node_http::desired`).
const IDLE: Duration = Duration::from_secs(10);
/// Change sets that a connection has not taken yet.
const WAITING_MAX: usize = 8;

/// A feed, and its reader's newest connection.
#[derive(Debug)]
pub struct Source {
    /// Signs.
    pub forge: Forge,
    /// What it says when nobody means harm.
    pub items: Items,
    right: Vec<u8>,
    line: Option<mpsc::Sender<Vec<u8>>>,
}

impl Source {
    /// Its document is right, and nobody is connected.
    #[must_use]
    pub fn new(forge: Forge, items: Items) -> Self {
        let mut source = Self {
            forge,
            items,
            right: Vec::new(),
            line: None,
        };
        source.mend();
        source
    }

    /// The next document is right. It stands where a forged one did: who took that refuses this.
    pub fn mend(&mut self) -> Commit {
        let set = self.forge.whole(self.items.clone(), Some(DropCause::Plan));
        self.forge.publish(&set);
        self.right = self.forge.lines(&set).into_bytes();
        self.forge.commit(&set)
    }

    /// The newest right document.
    #[must_use]
    pub fn right(&self) -> Vec<u8> {
        self.right.clone()
    }

    /// Somebody connects: what is sent to it. A reader that hears nothing for long hangs up, so who has nothing to say
    /// says that.
    pub fn connect(&mut self) -> impl Stream<Item = Vec<u8>> + Send + use<> {
        let (line, receiver) = mpsc::channel(WAITING_MAX);
        // It is empty, and its receiver is here.
        let _ = line.try_send(self.right());
        self.line = Some(line);
        stream::unfold(receiver, |mut receiver| async move {
            let said = timeout(IDLE, receiver.recv()).await;
            let piece = said.unwrap_or_else(|_| Some(writer::idle().into()))?;
            Some((piece, receiver))
        })
    }

    /// The newest connection, unless its reader has hung up.
    #[must_use]
    pub fn line(&self) -> Option<mpsc::Sender<Vec<u8>>> {
        self.line.clone().filter(|line| !line.is_closed())
    }
}
