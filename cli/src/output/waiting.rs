//! The progress line on standard error: shown when something takes longer than a second, gone when
//! it is over, and never there without a terminal.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Before this nobody wonders.
const PATIENCE: Duration = Duration::from_secs(1);
const FRAME: Duration = Duration::from_millis(120);

/// A line that moves until it is dropped.
pub struct Moving {
    bar: ProgressBar,
}

impl Moving {
    /// A spinner with a message, shown at once.
    pub fn spinner(moves: bool) -> Self {
        Self::with(ProgressBar::new_spinner(), moves, "{spinner} {msg}")
    }

    /// A bar over a number of bytes.
    pub fn bytes(moves: bool, total: u64, what: &str) -> Self {
        let template =
            format!("{{spinner}} {what} {{bytes}} of {{total_bytes}} ({{bytes_per_sec}})");
        Self::with(ProgressBar::new(total), moves, &template)
    }

    fn with(bar: ProgressBar, moves: bool, template: &str) -> Self {
        if !moves {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        if moves {
            bar.enable_steady_tick(FRAME);
        }
        Self { bar }
    }

    /// Says something else from now on.
    pub fn say(&self, message: impl Into<String>) {
        self.bar.set_message(message.into());
    }

    /// So many bytes more are done.
    pub fn advance(&self, bytes: u64) {
        self.bar.inc(bytes);
    }

    /// Nothing is done yet.
    pub fn restart(&self) {
        self.bar.set_position(0);
    }

    /// Prints something above the line.
    pub fn aside<R>(&self, print: impl FnOnce() -> R) -> R {
        self.bar.suspend(print)
    }
}

impl Drop for Moving {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// The line for requests: one at most, shown once a request has taken longer than a second.
#[derive(Clone)]
pub struct Waiting {
    moves: bool,
    current: Arc<Mutex<Option<Pending>>>,
}

struct Pending {
    timer: tokio::task::JoinHandle<()>,
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.timer.abort();
    }
}

impl Waiting {
    /// Nothing is under way.
    pub fn new(moves: bool) -> Self {
        Self {
            moves,
            current: Arc::default(),
        }
    }

    /// Something began.
    pub fn begin(&self, message: String) {
        if self.moves {
            self.replace(Some(Pending::begin(message)));
        }
    }

    /// It is over.
    pub fn end(&self) {
        self.replace(None);
    }

    fn replace(&self, next: Option<Pending>) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        *current = next;
    }
}

impl Pending {
    fn begin(message: String) -> Self {
        let timer = tokio::spawn(async move {
            tokio::time::sleep(PATIENCE).await;
            let line = Moving::spinner(true);
            line.say(message);
            std::future::pending::<()>().await;
        });
        Self { timer }
    }
}
