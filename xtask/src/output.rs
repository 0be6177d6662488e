//! Lines for whoever called. A reader that has gone (`./dev status | head`) ends nothing.

use std::{
    fmt,
    io::{self, Write as _},
};

/// Prints a line, as `println!` does, but never panics.
macro_rules! say {
    ($($words:tt)*) => { $crate::output::line(format_args!($($words)*)) };
}
pub(crate) use say;

/// Whoever has gone does not want to know.
pub fn line(text: fmt::Arguments<'_>) {
    let _ = writeln!(io::stdout().lock(), "{text}");
}
