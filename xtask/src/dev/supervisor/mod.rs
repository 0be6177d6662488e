//! The local platform's systemd: keeps every wanted process running, restarts what ends or hangs
//! (`WATCHDOG=1` missing), and at its own end stops them in order. One thread, one loop, no state but
//! what it can read again from the process files.

mod child;
mod log;
mod notify;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
};

use self::child::Child;
use super::{
    plan::Plan,
    process::{self, Process},
    state::{Identity, State},
};

const TICK: Duration = Duration::from_millis(50);
const LOGS_CHECKED_EVERY: Duration = Duration::from_secs(5);

/// Runs until SIGTERM or SIGINT, then stops everything it started.
pub fn run(plan: &Plan) -> Result<()> {
    let ending = ending_flag().context("listening for signals")?;
    let mut supervisor = Supervisor::new(plan)?;
    while !ending.load(Ordering::Relaxed) {
        supervisor.reconcile()?;
        std::thread::sleep(TICK);
    }
    supervisor.stop_all()
}

struct Supervisor<'a> {
    plan: &'a Plan,
    own: Identity,
    children: BTreeMap<String, Child>,
    written: State,
    logs_checked: Instant,
}

impl<'a> Supervisor<'a> {
    fn new(plan: &'a Plan) -> Result<Self> {
        let own = Identity::of(std::process::id().cast_signed())
            .context("reading the supervisor's own start time from /proc")?;
        Ok(Self {
            plan,
            own,
            children: BTreeMap::new(),
            written: State::default(),
            logs_checked: Instant::now(),
        })
    }

    /// One look at what is wanted and what runs.
    fn reconcile(&mut self) -> Result<()> {
        let wanted = process::wanted(self.plan)?;
        self.retire(&wanted);
        for process in wanted {
            let held = process::is_held(self.plan, &process.name);
            let child = self
                .children
                .entry(process.name.clone())
                .or_insert_with(|| Child::new(process.clone()));
            child.reconcile(self.plan, process, held);
        }
        if self.logs_checked.elapsed() > LOGS_CHECKED_EVERY {
            self.logs_checked = Instant::now();
            log::bound_all(self.plan);
        }
        self.publish()
    }

    /// Stops what is no longer wanted.
    fn retire(&mut self, wanted: &[Process]) {
        let plan = self.plan;
        self.children.retain(|name, child| {
            wanted.iter().any(|process| process.name == *name) || !child.stop_and_is_gone(plan)
        });
    }

    /// Stops the highest order first, each order as a whole.
    fn stop_all(&mut self) -> Result<()> {
        while let Some(order) = self.children.values().map(Child::order).max() {
            let plan = self.plan;
            self.children
                .retain(|_, child| child.order() != order || !child.stop_and_is_gone(plan));
            self.publish()?;
            std::thread::sleep(TICK);
        }
        Ok(())
    }

    fn publish(&mut self) -> Result<()> {
        let mut processes: Vec<_> = self.children.values().map(Child::observed).collect();
        processes.sort_by(|a, b| (a.order, &a.name).cmp(&(b.order, &b.name)));
        let state = State {
            supervisor: Some(self.own),
            processes,
        };
        if state != self.written {
            state.write(self.plan)?;
            self.written = state;
        }
        Ok(())
    }
}

/// Set by SIGTERM or SIGINT. A handler and no mask: children would inherit the mask.
fn ending_flag() -> std::io::Result<Arc<AtomicBool>> {
    let ending = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        flag::register(signal, ending.clone())?;
    }
    Ok(ending)
}
