//! The line between an edge and its successor, which is the successor's standard input: the sockets first, then one
//! byte for each step, with what is served by behind that of the folder. Its end is the end of the one at the other
//! side.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::{
        fd::{BorrowedFd, OwnedFd},
        unix::net::UnixStream as StdUnixStream,
    },
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
};

use super::{served::Served, sockets};

/// Why nothing was handed over.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refuses.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The other process ended instead, or says something else.
    #[error("the other process did not get to \"{0}\"; its own log lines say why")]
    Waiting(&'static str),
    /// It takes too long.
    #[error("the new process does not serve within {} s; its own log lines say where it stands", .0.as_secs())]
    TooLate(std::time::Duration),
}

/// Names what was tried in an [`io::Error`].
pub(super) fn failed(what: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::System { what, source }
}

/// The steps, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The successor has its configuration and listens.
    Prepared,
    /// The predecessor no longer writes the state folder.
    FolderIsYours,
    /// The successor serves.
    Serving,
    /// The supervisor watches the successor.
    PlaceIsYours,
}

impl Step {
    const fn byte(self) -> u8 {
        match self {
            Self::Prepared => b'p',
            Self::FolderIsYours => b'f',
            Self::Serving => b's',
            Self::PlaceIsYours => b'm',
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Prepared => "prepared",
            Self::FolderIsYours => "the state folder is yours",
            Self::Serving => "serving",
            Self::PlaceIsYours => "the supervisor watches you",
        }
    }
}

/// One end.
#[derive(Debug)]
pub(super) struct Line(UnixStream);

impl Line {
    pub(super) fn new(end: StdUnixStream) -> Result<Self, Error> {
        let opened = end
            .set_nonblocking(true)
            .and_then(|()| UnixStream::from_std(end));
        opened
            .map(Self)
            .map_err(failed("opening the line between both processes"))
    }

    pub(super) async fn say(&mut self, step: Step) -> Result<(), Error> {
        let said = self.0.write_u8(step.byte()).await;
        said.map_err(|_| Error::Waiting(step.name()))
    }

    pub(super) async fn hear(&mut self, step: Step) -> Result<(), Error> {
        match self.0.read_u8().await {
            Ok(byte) if byte == step.byte() => Ok(()),
            Ok(_) | Err(_) => Err(Error::Waiting(step.name())),
        }
    }

    /// Its length in two bytes, then JSON: the other process may be of another version.
    pub(super) async fn say_served(&mut self, served: &Served) -> Result<(), Error> {
        let telling = failed("telling the new process what is served by");
        let told = async {
            let json = serde_json::to_vec(served)?;
            let length = u16::try_from(json.len()).map_err(io::Error::other)?;
            self.0.write_u16(length).await?;
            self.0.write_all(&json).await
        };
        told.await.map_err(telling)
    }

    pub(super) async fn hear_served(&mut self) -> Result<Served, Error> {
        let learning = failed("learning what the process that serves does so by");
        let heard = async {
            let mut json = vec![0; self.0.read_u16().await?.into()];
            self.0.read_exact(&mut json).await?;
            Ok(serde_json::from_slice(&json)?)
        };
        heard.await.map_err(learning)
    }
}

const SPACE: usize = rustix::cmsg_space!(ScmRights(sockets::COUNT));

pub(super) fn send(line: &StdUnixStream, sockets: &[BorrowedFd<'_>]) -> Result<(), Error> {
    let mut space = [MaybeUninit::uninit(); SPACE];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(sockets));
    let sent = sendmsg(
        line,
        &[IoSlice::new(&[0])],
        &mut control,
        SendFlags::empty(),
    );
    sent.map(|_| ())
        .map_err(|errno| failed("sending the sockets")(errno.into()))
}

pub(super) fn receive(line: &StdUnixStream) -> Result<Vec<OwnedFd>, Error> {
    let mut space = [MaybeUninit::uninit(); SPACE];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    recvmsg(
        line,
        &mut [IoSliceMut::new(&mut byte)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )
    .map_err(|errno| failed("receiving the sockets")(errno.into()))?;
    let sockets = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(sockets) => Some(sockets),
        _ => None,
    });
    Ok(sockets.flatten().collect())
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, os::fd::AsFd as _};

    use super::*;

    #[tokio::test]
    async fn sockets_arrive_before_the_first_step_and_each_step_is_told_from_the_others() {
        let (here, there) = StdUnixStream::pair().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        send(&here, &[listener.as_fd(), listener.as_fd()]).unwrap();
        let (mut here, there_too) = (Line::new(here).unwrap(), there.try_clone().unwrap());
        here.say(Step::Prepared).await.unwrap();

        let arrived = receive(&there).unwrap();
        let addresses = arrived
            .into_iter()
            .map(|socket| TcpListener::from(socket).local_addr());
        let expected = listener.local_addr().unwrap();
        assert!(addresses.map(Result::unwrap).eq([expected, expected]));
        let mut there = Line::new(there_too).unwrap();
        there.hear(Step::Prepared).await.unwrap();
        here.say_served(&Served::default()).await.unwrap();
        assert_eq!(there.hear_served().await.unwrap(), Served::default());
        here.say(Step::Prepared).await.unwrap();
        assert!(matches!(
            there.hear(Step::Serving).await,
            Err(Error::Waiting("serving"))
        ));
        drop(here);
        assert!(there.hear(Step::Serving).await.is_err());
    }
}
