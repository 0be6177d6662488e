//! The side of the process that takes over.

use std::{
    io,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::net::UnixStream,
    },
};

use super::{
    line::{self, Error, Line, Step, failed},
    served::{Less, Served},
};

/// The process that serves until this one does.
#[derive(Debug)]
pub struct Predecessor(Line);

/// The same when it no longer writes the state folder.
#[derive(Debug)]
pub struct Leaving {
    line: Line,
    served: Served,
}

impl Predecessor {
    /// The one at the standard input, and the sockets that it gives.
    ///
    /// # Errors
    /// When there is none.
    pub fn at_standard_input() -> Result<(Self, Vec<OwnedFd>), Error> {
        let input = io::stdin().as_fd().try_clone_to_owned();
        let line = UnixStream::from(input.map_err(failed("opening the standard input"))?);
        let sockets = line::receive(&line)?;
        Ok((Self(Line::new(line)?), sockets))
    }

    /// Waits until it writes the state folder no longer.
    ///
    /// # Errors
    /// When it is gone.
    pub async fn take_folder(mut self) -> Result<Leaving, Error> {
        self.0.say(Step::Prepared).await?;
        self.0.hear(Step::FolderIsYours).await?;
        let served = self.0.hear_served().await?;
        failpoint::reach("edge-folder-taken");
        Ok(Leaving {
            line: self.0,
            served,
        })
    }
}

impl Leaving {
    /// Whether its users miss nothing when they are served by this.
    ///
    /// # Errors
    /// [`Less`]: then it shall go on.
    pub fn may_leave(&self, served: &Served) -> Result<(), Less> {
        served.is_no_less_than(&self.served)
    }

    /// Tells it that this process serves, and waits until the supervisor knows.
    ///
    /// # Errors
    /// When it is gone: the supervisor may start another edge, which can't listen beside this one.
    pub async fn take_place(mut self) -> Result<(), Error> {
        self.line.say(Step::Serving).await?;
        self.line.hear(Step::PlaceIsYours).await
    }
}
