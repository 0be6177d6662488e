//! Cargo and git as the person who called: under sudo they run with that person's ids, so that the build
//! folder stays theirs and the checkout is one that git trusts.

use std::{env, path::PathBuf, process::Command};

use anyhow::{Context as _, Result};

use crate::command::command;

/// The checkout: the folder above xtask's own.
pub fn workspace() -> Result<PathBuf> {
    let mut folder = env::current_dir().context("reading the current folder")?;
    while !folder.join("xtask/Cargo.toml").is_file() {
        folder = folder
            .parent()
            .context("not inside a checkout of Railhead; run ./dev from one")?
            .to_owned();
    }
    Ok(folder)
}

/// Where cargo puts what it builds; `./dev` sets it.
pub fn target_dir() -> Result<PathBuf> {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => Ok(folder.into()),
        None => Ok(workspace()?.join("target")),
    }
}

/// `cargo …` in the checkout.
pub fn cargo<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Result<Command> {
    called("cargo", arguments)
}

/// `git …` in the checkout.
pub fn git<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Result<Command> {
    called("git", arguments)
}

fn called<'a>(program: &str, arguments: impl IntoIterator<Item = &'a str>) -> Result<Command> {
    let mut call = as_caller(program);
    call.args(arguments).current_dir(workspace()?);
    Ok(call)
}

/// A program that writes into the build folder.
pub fn as_caller(program: &str) -> Command {
    let mut words = ids_of_caller();
    words.push(program.to_owned());
    command(words)
}

fn ids_of_caller() -> Vec<String> {
    let (Ok(uid), Ok(gid)) = (env::var("SUDO_UID"), env::var("SUDO_GID")) else {
        return Vec::new();
    };
    [
        "setpriv",
        "--reuid",
        &uid,
        "--regid",
        &gid,
        "--init-groups",
        "--",
    ]
    .map(str::to_owned)
    .into()
}
