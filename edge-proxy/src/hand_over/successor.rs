//! The side of the process that serves already.

use std::{
    env, io,
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::PathBuf,
    process::Stdio,
    time::Duration,
};

use link::writing::{Lent, Writing};
use telemetry::supervisor;
use tokio::{
    process::{Child, Command},
    signal::unix::{SignalKind, signal},
    time::timeout,
};

use super::{
    TAKE_OVER,
    line::{self, Error, Line, Step, failed},
    served::Served,
    sockets::Sockets,
};

/// From its start until it serves. Reading 100,000 routes takes 1.4 s; a disk may be slow.
const SERVES_WITHIN: Duration = Duration::from_secs(60);

/// What the supervisor is told when it failed.
const NOT_HANDED_OVER: &str = "nothing was handed over";

/// Resolves when a successor serves: at the first SIGHUP after which it comes so far. The state folder is the
/// successor's from then on. It is told what this process serves by when it no longer writes.
pub async fn when_asked(sockets: &Sockets, writing: &Writing, served: impl Fn() -> Served) -> Lent {
    let mut asked = match signal(SignalKind::hangup()) {
        Ok(asked) => asked,
        Err(error) => {
            tracing::error!(%error, "SIGHUP can't be listened to: this edge can be stopped, but not handed over");
            return std::future::pending().await;
        }
    };
    loop {
        asked.recv().await;
        tracing::info!("handing over to a new process");
        supervisor::status("handing over to a new process");
        match hand_over(sockets, writing, &served).await {
            Ok(lent) => return lent,
            Err(error) => {
                tracing::error!(%error, "nothing was handed over; this process goes on serving");
                supervisor::status(&format!("{NOT_HANDED_OVER}: {error}"));
            }
        }
    }
}

async fn hand_over(
    sockets: &Sockets,
    writing: &Writing,
    served: &impl Fn() -> Served,
) -> Result<Lent, Error> {
    let mut successor = Successor::start(sockets)?;
    let mut lent = None;
    let relieved = successor.relieve(writing, served, &mut lent);
    let relieved = timeout(SERVES_WITHIN, relieved).await;
    match (relieved.unwrap_or(Err(Error::TooLate(SERVES_WITHIN))), lent) {
        (Ok(()), Some(lent)) => Ok(lent),
        (outcome, lent) => {
            successor.end().await;
            // Only now it is certain that nobody else writes.
            drop(lent);
            outcome.and(Err(Error::Waiting(Step::FolderIsYours.name())))
        }
    }
}

struct Successor {
    process: Child,
    line: Line,
}

impl Successor {
    fn start(sockets: &Sockets) -> Result<Self, Error> {
        let starting = "starting the new process";
        let (here, there) = UnixStream::pair().map_err(failed(starting))?;
        line::send(&here, &sockets.all())?;
        let process = Command::new(program().map_err(failed(starting))?)
            .args(env::args_os().skip(1).filter(|argument| !is_take_over(argument)))
            .arg(format!("--{TAKE_OVER}"))
            // The supervisor's watchdog looks at the successor as well.
            .env_remove("WATCHDOG_PID")
            .stdin(Stdio::from(OwnedFd::from(there)))
            .spawn()
            .map_err(failed(starting))?;
        Ok(Self {
            process,
            line: Line::new(here)?,
        })
    }

    async fn relieve(
        &mut self,
        writing: &Writing,
        served: &impl Fn() -> Served,
        lent: &mut Option<Lent>,
    ) -> Result<(), Error> {
        self.line.hear(Step::Prepared).await?;
        *lent = Some(writing.lend().await);
        self.line.say(Step::FolderIsYours).await?;
        self.line.say_served(&served()).await?;
        self.line.hear(Step::Serving).await?;
        if let Some(pid) = self.process.id() {
            supervisor::watch_instead(pid);
        }
        self.line.say(Step::PlaceIsYours).await
    }

    async fn end(mut self) {
        if let Err(error) = self.process.kill().await {
            tracing::error!(%error, "the new process can't be ended");
        }
    }
}

fn is_take_over(argument: &std::ffi::OsStr) -> bool {
    argument.to_str().and_then(|text| text.strip_prefix("--")) == Some(TAKE_OVER)
}

/// What lies there now: a supervisor starts programs by their path, which stays the same when another one is put there.
fn program() -> io::Result<PathBuf> {
    let named = env::args_os().next().map(PathBuf::from);
    match named.filter(|path| path.is_absolute()) {
        Some(path) => Ok(path),
        None => env::current_exe(),
    }
}
