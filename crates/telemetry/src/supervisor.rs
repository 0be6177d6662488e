//! What a process tells its supervisor (systemd's notification protocol, also spoken by the local one). Without a
//! supervisor nothing happens.

use std::{
    os::fd::BorrowedFd,
    sync::atomic::{AtomicBool, Ordering},
};

use sd_notify::NotifyState;

/// Another process has taken over: what this one says is nothing to the supervisor any more.
static RELIEVED: AtomicBool = AtomicBool::new(false);

/// Start-up is finished.
pub fn ready() {
    notify(&[NotifyState::Ready]);
}

/// This process lives.
pub fn alive() {
    notify(&[NotifyState::Watchdog]);
}

/// What operators shall read about the process, on one line.
pub fn status(text: &str) {
    notify(&[NotifyState::Status(&text.replace('\n', " "))]);
}

/// This child has taken over: the service ends with it, and no longer with this process.
pub fn watch_instead(child: u32) {
    notify(&[NotifyState::MainPid(child)]);
    RELIEVED.store(true, Ordering::Relaxed);
}

/// Keep this socket for the service's next process, also when this one is killed.
pub fn keep(name: &str, socket: BorrowedFd<'_>) {
    let states = [NotifyState::FdStore, NotifyState::FdName(name)];
    told(sd_notify::notify_with_fds(&states, &[socket]));
}

/// Keep what has this name no longer.
pub fn forget(name: &str) {
    notify(&[NotifyState::FdStoreRemove, NotifyState::FdName(name)]);
}

fn notify(states: &[NotifyState<'_>]) {
    if !RELIEVED.load(Ordering::Relaxed) {
        told(sd_notify::notify(states));
    }
}

fn told(outcome: std::io::Result<()>) {
    if let Err(error) = outcome {
        tracing::warn!(%error, "the supervisor can't be notified");
    }
}
