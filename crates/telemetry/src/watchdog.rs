//! systemd's notification protocol, also spoken by the local supervisor: "ready" once, then a sign of
//! life at half the watchdog's time. The sign comes from the async runtime, so that a runtime whose
//! workers all hang stops giving it and the process is restarted.

use std::sync::Mutex;

use sd_notify::NotifyState;

/// Tells the supervisor that start-up is finished. Without a supervisor nothing happens.
pub fn ready() {
    notify(NotifyState::Ready);
}

/// Gives signs of life from now on, if the supervisor asks for them. Call inside the runtime.
pub fn spawn() {
    let Some(timeout) = sd_notify::watchdog_enabled() else {
        return;
    };
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(timeout / 2);
        loop {
            ticks.tick().await;
            if failpoint::is_struck("deadlock") {
                deadlock();
            }
            notify(NotifyState::Watchdog);
        }
    });
}

/// Every worker of the runtime waits for a lock that is never given back.
fn deadlock() {
    static LOCK: Mutex<()> = Mutex::new(());
    std::mem::forget(LOCK.lock());
    for _ in 0..tokio::runtime::Handle::current().metrics().num_workers() {
        tokio::spawn(async { drop(LOCK.lock()) });
    }
}

fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "the supervisor can't be notified");
    }
}
