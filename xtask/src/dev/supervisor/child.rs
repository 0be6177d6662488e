//! One process under supervision: a small state machine driven by [`Child::reconcile`].

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;

use super::{log, notify::NotifySocket};
use crate::{
    command::command,
    dev::{
        cgroup,
        plan::Plan,
        process::{Process, Ready, StopSignal, as_user},
        state::{Identity, Observed, Phase},
    },
};

const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// A process that ran so long had no trouble starting.
const STABLE_AFTER: Duration = Duration::from_secs(10);
/// Between SIGABRT (a core, a backtrace) and SIGKILL for one that hangs.
const ABORT_GRACE: Duration = Duration::from_secs(2);

/// A wanted process and what became of it.
pub struct Child {
    process: Process,
    run: Run,
    held: bool,
    restarts: u32,
    backoff: Duration,
}

enum Run {
    Stopped { start_after: Instant },
    Running(Running),
}

struct Running {
    /// None when it has taken over from another one: then it is nobody's child here.
    handle: Option<std::process::Child>,
    /// The one that was started here, while it ends.
    handed_over: Option<std::process::Child>,
    identity: Option<Identity>,
    socket: NotifySocket,
    since: Instant,
    ready: bool,
    alive_at: Instant,
    stop: Option<Stop>,
}

/// It was told to end and will be killed at the deadline.
#[derive(Clone, Copy)]
struct Stop {
    deadline: Instant,
    /// Somebody wanted it to end: no failure of the process.
    wanted: bool,
}

impl Child {
    /// Not started yet.
    pub fn new(process: Process) -> Self {
        Self {
            backoff: first_backoff(&process),
            process,
            run: Run::Stopped {
                start_after: Instant::now(),
            },
            held: false,
            restarts: 0,
        }
    }

    /// Its place in the order of stopping.
    pub fn order(&self) -> u32 {
        self.process.order
    }

    /// For the state file.
    pub fn observed(&self) -> Observed {
        let (identity, state) = match &self.run {
            Run::Stopped { .. } if self.held => (None, Phase::Held),
            Run::Stopped { .. } => (None, Phase::Waiting),
            Run::Running(running) => (running.identity, running.phase()),
        };
        Observed {
            name: self.process.name.clone(),
            order: self.process.order,
            identity,
            state,
            restarts: self.restarts,
            fingerprint: self.process.fingerprint.clone(),
        }
    }

    /// Brings it one step nearer to `wanted`.
    pub fn reconcile(&mut self, plan: &Plan, wanted: Process, held: bool) {
        self.held = held;
        self.listen(plan);
        self.reap(plan);
        match &mut self.run {
            Run::Running(running) if held || self.process != wanted => {
                running.stop(&self.process);
            }
            Run::Running(running) if running.hangs(&self.process) => {
                log::note(plan, &self.process.name, "no WATCHDOG=1 in time: ending it");
                running.abort();
            }
            Run::Stopped { start_after } if !held && *start_after <= Instant::now() => {
                self.process = wanted;
                self.start(plan);
            }
            Run::Running(_) | Run::Stopped { .. } => {}
        }
    }

    /// Asks it to end, or kills it when it was asked long enough ago; says whether it is gone.
    pub fn stop_and_is_gone(&mut self, plan: &Plan) -> bool {
        self.reap(plan);
        match &mut self.run {
            Run::Stopped { .. } => true,
            Run::Running(running) => {
                running.stop(&self.process);
                false
            }
        }
    }

    fn start(&mut self, plan: &Plan) {
        match spawn(plan, &self.process) {
            Ok(running) => self.run = Run::Running(running),
            Err(error) => {
                log::note(plan, &self.process.name, &format!("{error:#}"));
                self.wait_and_start_again();
            }
        }
    }

    fn listen(&mut self, plan: &Plan) {
        if let Run::Running(running) = &mut self.run
            && let Err(error) = running.listen()
        {
            log::note(
                plan,
                &self.process.name,
                &format!("reading notifications: {error:#}"),
            );
        }
    }

    /// Takes note of its end.
    fn reap(&mut self, plan: &Plan) {
        let Run::Running(running) = &mut self.run else {
            return;
        };
        match running.end_of_it() {
            Ok(None) => running.kill_if_overdue(),
            Ok(Some(how)) => self.ended(plan, &how),
            Err(error) => log::note(
                plan,
                &self.process.name,
                &format!("waiting for it: {error}"),
            ),
        }
    }

    fn ended(&mut self, plan: &Plan, how: &str) {
        let Run::Running(running) = &self.run else {
            return;
        };
        log::note(plan, &self.process.name, &format!("ended with {how}"));
        if running.since.elapsed() > STABLE_AFTER {
            self.backoff = first_backoff(&self.process);
        }
        if running.stop.is_some_and(|stop| stop.wanted) {
            self.run = Run::Stopped {
                start_after: Instant::now(),
            };
        } else {
            self.wait_and_start_again();
        }
    }

    fn wait_and_start_again(&mut self) {
        self.restarts += 1;
        self.run = Run::Stopped {
            start_after: Instant::now() + self.backoff,
        };
        self.backoff = (self.backoff * 2).min(BACKOFF_MAX);
    }
}

impl Running {
    fn phase(&self) -> Phase {
        match (self.stop, self.ready) {
            (Some(_), _) => Phase::Stopping,
            (None, true) => Phase::Ready,
            (None, false) => Phase::Starting,
        }
    }

    fn listen(&mut self) -> Result<()> {
        for message in self.socket.read()? {
            let successor = message.main_pid.and_then(Identity::of);
            if let Some(successor) = successor.filter(|one| Some(*one) != self.identity) {
                self.take_on(successor);
            }
            self.ready |= message.ready;
            if message.ready || message.watchdog {
                self.alive_at = Instant::now();
            }
        }
        Ok(())
    }

    /// Its successor counts from now on.
    fn take_on(&mut self, successor: Identity) {
        self.identity = Some(successor);
        self.handed_over = self.handle.take().or(self.handed_over.take());
        (self.ready, self.alive_at) = (false, Instant::now());
    }

    /// How it has ended, if it has. What somebody else is the parent of only vanishes.
    fn end_of_it(&mut self) -> std::io::Result<Option<String>> {
        if let Some(child) = &mut self.handed_over
            && child.try_wait()?.is_some()
        {
            self.handed_over = None;
        }
        match &mut self.handle {
            Some(handle) => Ok(handle.try_wait()?.map(|status| status.to_string())),
            None => {
                let is_alive = self.identity.is_some_and(Identity::is_alive);
                Ok((!is_alive).then(|| "a status that its parent knows".to_owned()))
            }
        }
    }

    fn hangs(&self, process: &Process) -> bool {
        let Some(seconds) = process.watchdog_seconds else {
            return false;
        };
        self.ready && self.stop.is_none() && self.alive_at.elapsed() > Duration::from_secs(seconds)
    }

    fn stop(&mut self, process: &Process) {
        let signal = match process.stop_signal {
            StopSignal::Terminate => Signal::SIGTERM,
            StopSignal::Interrupt => Signal::SIGINT,
        };
        self.end(
            signal,
            Duration::from_secs(process.stop_timeout_seconds),
            true,
        );
    }

    fn abort(&mut self) {
        self.end(Signal::SIGABRT, ABORT_GRACE, false);
    }

    fn end(&mut self, signal: Signal, grace: Duration, wanted: bool) {
        if self.stop.is_none() {
            self.stop = Some(Stop {
                deadline: Instant::now() + grace,
                wanted,
            });
            self.send(signal);
        }
    }

    fn kill_if_overdue(&self) {
        if self
            .stop
            .is_some_and(|stop| stop.deadline <= Instant::now())
        {
            self.send(Signal::SIGKILL);
        }
    }

    /// The child is not reaped yet, so its id is still its own; it may have ended, which is as well.
    fn send(&self, signal: Signal) {
        if let Some(identity) = self.identity {
            let _ = identity.signal(signal);
        }
    }
}

fn first_backoff(process: &Process) -> Duration {
    Duration::from_millis(process.restart_delay_ms)
}

fn spawn(plan: &Plan, process: &Process) -> Result<Running> {
    let socket = NotifySocket::bind(
        &plan
            .run()
            .join("notify")
            .join(format!("{}.sock", process.name)),
    )?;
    let log = log::open(plan, &process.name)?;
    let mut command = command(command_line(process));
    command
        .envs(&process.environment)
        .env("NOTIFY_SOCKET", socket.path())
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .current_dir("/");
    if let Some(seconds) = process.watchdog_seconds {
        command.env("WATCHDOG_USEC", (seconds * 1_000_000).to_string());
    }
    let handle = command
        .spawn()
        .with_context(|| format!("starting {}", process.argv.join(" ")))?;
    let pid = handle.id().cast_signed();
    cgroup::enter(
        &format!("{}/process-{}", plan.slot.cgroup(), process.name),
        pid,
    )?;
    Ok(Running {
        identity: Identity::of(pid),
        handle: Some(handle),
        handed_over: None,
        socket,
        since: Instant::now(),
        ready: process.ready == Ready::Started,
        alive_at: Instant::now(),
        stop: None,
    })
}

/// `nsenter` and `setpriv` become the program they start, so the child's id is the program's.
fn command_line(process: &Process) -> Vec<String> {
    let mut words = Vec::new();
    if let Some(netns) = &process.netns {
        words.extend([
            "nsenter".to_owned(),
            format!("--net={}", netns.display()),
            "--".to_owned(),
        ]);
    }
    if let Some(user) = &process.user {
        words.extend(as_user(user));
    }
    words.extend(process.argv.iter().cloned());
    words
}
