//! `docs/guide/cli.md`, made from the command line itself, so that it can't be out of date.

use std::{fmt::Write, path::Path};

use clap::{Arg, Command};

use crate::args;

const HEAD: &str = "\
# Command line reference

This page is made from the command line itself: `UPDATE_DOCS=1 cargo nextest run -p cli reference`
writes it anew, and a test fails when it is out of date.

Exit codes: 0 done, 1 failed, 2 usage, 3 not signed in, 4 not allowed, 5 not found.
";

fn page() -> String {
    let mut root = args::command();
    root.build();
    let mut text = HEAD.to_owned();
    text.push_str("\n## Options of all commands\n\n");
    options(
        &mut text,
        root.get_arguments().filter(|arg| arg.is_global_set()),
    );
    for command in root.get_subcommands().filter(is_ours) {
        section(&mut text, command, "railhead", 2);
    }
    text
}

/// Not clap's own `help`.
fn is_ours(command: &&Command) -> bool {
    command.get_name() != "help"
}

fn section(text: &mut String, command: &Command, parent: &str, level: usize) {
    let path = format!("{parent} {}", command.get_name());
    let about = command
        .get_about()
        .map(ToString::to_string)
        .unwrap_or_default();
    let _ = write!(text, "\n{} `{path}`\n\n{about}.\n", "#".repeat(level));
    let own: Vec<&Arg> = command
        .get_arguments()
        .filter(|arg| !arg.is_global_set() && arg.get_id() != "help" && arg.get_id() != "version")
        .collect();
    if !own.is_empty() {
        text.push('\n');
        options(text, own.into_iter());
    }
    for below in command.get_subcommands().filter(is_ours) {
        section(text, below, &path, level + 1);
    }
}

fn options<'a>(text: &mut String, arguments: impl Iterator<Item = &'a Arg>) {
    text.push_str("| option | meaning |\n|---|---|\n");
    for argument in arguments {
        let help = argument
            .get_help()
            .map(ToString::to_string)
            .unwrap_or_default();
        let _ = writeln!(text, "| `{}` | {help}{} |", name(argument), extra(argument));
    }
}

fn name(argument: &Arg) -> String {
    let value = if argument.get_action().takes_values() {
        let names = argument.get_value_names().unwrap_or_default();
        names.iter().map(|name| format!(" {name}")).collect()
    } else {
        String::new()
    };
    match (argument.get_short(), argument.get_long()) {
        (Some(short), Some(long)) => format!("-{short}, --{long}{value}"),
        (None, Some(long)) => format!("--{long}{value}"),
        _ => value.trim().to_owned(),
    }
}

fn extra(argument: &Arg) -> String {
    let mut extra = String::new();
    let choices: Vec<String> = argument
        .get_possible_values()
        .iter()
        .filter(|_| argument.get_action().takes_values())
        .map(|value| format!("`{}`", value.get_name()))
        .collect();
    if !choices.is_empty() {
        let _ = write!(extra, " ({})", choices.join(", "));
    }
    if let Some(env) = argument.get_env() {
        let _ = write!(extra, "; also `{}`", env.to_string_lossy());
    }
    if let [default] = argument.get_default_values()
        && argument.get_action().takes_values()
    {
        let _ = write!(extra, "; default `{}`", default.to_string_lossy());
    }
    extra
}

#[test]
fn the_reference_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/guide/cli.md");
    let page = page();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).expect("the page is in the checkout");
    assert!(
        written == page,
        "docs/guide/cli.md is out of date: UPDATE_DOCS=1 cargo nextest run -p cli reference"
    );
}
