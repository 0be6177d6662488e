//! Where everything that a user sees goes through: results to standard output (text or JSON), what
//! surrounds them to standard error. Colours and moving lines only where a terminal shows them.

mod clean;
mod table;
mod time;
mod waiting;

use std::io::{self, IsTerminal, Write};

use console::Style;
use serde::Serialize;

pub use self::{
    clean::clean,
    table::{Cell, Table, Tone},
    time::{age, since, span},
    waiting::{Moving, Waiting},
};
use crate::{
    args::GlobalArgs,
    error::{Error, Result},
};

/// How this run speaks.
#[derive(Debug, Clone, Copy)]
#[allow(clippy::struct_excessive_bools)]
pub struct Output {
    /// Results as JSON.
    pub json: bool,
    /// Nothing but results and errors.
    pub quiet: bool,
    /// Requests, request ids and the trace id.
    pub verbose: bool,
    /// `--yes`: confirmations are taken as given.
    pub assumes_yes: bool,
    /// There is a terminal to ask on.
    pub can_ask: bool,
    /// Standard error is a terminal, so that lines may move.
    pub moves: bool,
    colour: bool,
    colour_errors: bool,
    width: Option<u16>,
}

impl Output {
    /// As the options and the terminal allow; nobody is there when `unattended`.
    pub fn of_terminal(global: &GlobalArgs, unattended: bool) -> Self {
        let errors_on_terminal = io::stderr().is_terminal();
        Self {
            json: global.json,
            quiet: global.quiet,
            verbose: global.verbose,
            assumes_yes: global.yes || unattended,
            can_ask: io::stdin().is_terminal() && errors_on_terminal,
            moves: errors_on_terminal && !global.quiet && !unattended,
            colour: console::colors_enabled(),
            colour_errors: console::colors_enabled_stderr(),
            width: io::stdout()
                .is_terminal()
                .then(|| console::Term::stdout().size().1),
        }
    }

    /// As without a terminal.
    #[cfg(test)]
    pub const fn plain() -> Self {
        Self {
            json: false,
            quiet: false,
            verbose: false,
            assumes_yes: false,
            can_ask: false,
            moves: false,
            colour: false,
            colour_errors: false,
            width: None,
        }
    }

    /// A result: the value as JSON, or the text made of it.
    pub fn show<T: Serialize + ?Sized>(self, value: &T, text: impl FnOnce() -> String) -> Result {
        if self.json {
            let json = serde_json::to_string_pretty(value)
                .map_err(|error| Error::file("write", "standard output", &error))?;
            self.print(&json)
        } else {
            self.print(&text())
        }
    }

    /// A list: an array as JSON, or a table; with nothing in it, a sentence on standard error.
    pub fn list<T: Serialize>(
        self,
        items: &[T],
        table: impl FnOnce(&[T]) -> Table,
        when_empty: &str,
    ) -> Result {
        if items.is_empty() && !self.json {
            return self.note(when_empty);
        }
        self.show(items, || self.render(table(items)))
    }

    /// One value of a stream, as one line of JSON.
    pub fn record<T: Serialize + ?Sized>(self, value: &T) -> Result {
        let json = serde_json::to_string(value)
            .map_err(|error| Error::file("write", "standard output", &error))?;
        self.print(&json)
    }

    /// What a command without a result did, for programs.
    pub fn record_if_json<T: Serialize + ?Sized>(self, value: &T) -> Result {
        if self.json {
            self.record(value)
        } else {
            Ok(())
        }
    }

    /// A line of a result.
    pub fn print(self, text: &str) -> Result {
        write(&mut io::stdout().lock(), "standard output", text)
    }

    /// Bytes of a result as they are.
    pub fn bytes(self, bytes: &[u8]) -> Result {
        let mut out = io::stdout().lock();
        out.write_all(bytes)
            .and_then(|()| out.flush())
            .map_err(|error| closed("standard output", &error))
    }

    /// A line about a result, for people; not with `--quiet`.
    pub fn note(self, text: &str) -> Result {
        if self.quiet {
            return Ok(());
        }
        write(&mut io::stderr().lock(), "standard error", text)
    }

    /// What was done, for people; with `--json` the result itself says it.
    pub fn done(self, text: &str) -> Result {
        let mark = self.paint_errors("✓", &Style::new().green());
        self.note(&format!("{mark} {text}"))
    }

    /// What was begun and did not get done.
    pub fn undone(self, text: &str) -> Result {
        let mark = self.paint_errors("✗", &Style::new().red());
        self.note(&format!("{mark} {text}"))
    }

    /// Detail for `--verbose`.
    pub fn detail(self, text: &str) {
        if self.verbose {
            let text = self.paint_errors(text, &Style::new().dim());
            // A closed standard error must not end a command that works.
            let _ = write(&mut io::stderr().lock(), "standard error", &text);
        }
    }

    /// Why the command did not succeed.
    pub fn error(self, error: &Error) {
        if matches!(error, Error::OutputClosed | Error::Interrupted) {
            return;
        }
        let text = if self.json {
            error.json().to_string()
        } else {
            error.text(self.colour_errors).trim_end().to_owned()
        };
        let _ = write(&mut io::stderr().lock(), "standard error", &text);
    }

    /// A table as wide as the terminal.
    pub fn render(self, table: Table) -> String {
        table.render(self.colour, self.width)
    }

    /// Colours a piece of a result.
    pub fn paint(self, text: &str, style: &Style) -> String {
        style
            .clone()
            .force_styling(self.colour)
            .apply_to(text)
            .to_string()
    }

    /// Colours a piece of what goes to standard error.
    pub fn paint_errors(self, text: &str, style: &Style) -> String {
        style
            .clone()
            .force_styling(self.colour_errors)
            .apply_to(text)
            .to_string()
    }

    /// Text that somebody else's program wrote, made harmless for this terminal.
    pub fn foreign(self, text: &str) -> String {
        clean(text, self.colour)
    }
}

fn write(out: &mut dyn Write, name: &'static str, text: &str) -> Result {
    writeln!(out, "{text}")
        .and_then(|()| out.flush())
        .map_err(|error| closed(name, &error))
}

fn closed(name: &'static str, error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Error::OutputClosed,
        _ => Error::file("write", name, error),
    }
}
