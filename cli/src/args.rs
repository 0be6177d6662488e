//! The command line as clap sees it: options that every command has, and the commands in the
//! groups that `railhead --help` shows them in.

use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser};

use crate::{address::Address, command::Command};

/// Everything that was typed.
#[derive(Debug, Parser)]
#[command(name = "railhead", version)]
#[command(about = "Deploy to regions of your own: build, place, route, and take it back.")]
pub struct Cli {
    /// Options that every command has.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options that every command has.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Options of all commands")]
#[allow(clippy::struct_excessive_bools)]
pub struct GlobalArgs {
    /// Service, by name or id
    #[arg(short, long, global = true, value_name = "NAME")]
    pub service: Option<String>,
    /// Environment, by name or id
    #[arg(short, long, global = true, value_name = "NAME")]
    pub environment: Option<String>,
    /// Project, by name or id
    #[arg(short, long, global = true, value_name = "NAME")]
    pub project: Option<String>,
    /// Organization, by name or id
    #[arg(short, long, global = true, value_name = "NAME")]
    pub organization: Option<String>,
    /// Results as JSON on standard output (streams: one object per line)
    #[arg(long, global = true)]
    pub json: bool,
    /// Take every confirmation as given
    #[arg(short, long, global = true)]
    pub yes: bool,
    /// The platform's address, such as https://railhead.example.com
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "RAILHEAD_API",
        hide_env_values = true
    )]
    pub api: Option<Address>,
    /// Trust only this certificate authority (PEM) of the platform
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "RAILHEAD_CA",
        hide_env_values = true
    )]
    pub ca: Option<PathBuf>,
    /// Nothing but results and errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Show requests, request ids and the trace id
    #[arg(short, long, global = true)]
    pub verbose: bool,
}

/// The groups of `railhead --help`; a test holds every command to be in exactly one.
const GROUPS: &[(&str, &[&str])] = &[
    ("Account", &["login", "logout", "whoami", "token"]),
    (
        "Project",
        &[
            "init",
            "link",
            "unlink",
            "list",
            "project",
            "environment",
            "status",
            "open",
        ],
    ),
    (
        "Deploy",
        &[
            "up",
            "deploy",
            "redeploy",
            "rollback",
            "cancel",
            "down",
            "deployment",
        ],
    ),
    (
        "Service",
        &[
            "service",
            "scale",
            "variable",
            "domain",
            "cert",
            "edge",
            "deploy-key",
            "logs",
        ],
    ),
    ("Organization", &["organization", "member", "audit"]),
    ("Platform", &["region", "node", "rollout", "admin"]),
    ("Other", &["api", "completion"]),
];

const TITLE: anstyle::Style = anstyle::Style::new().bold().underline();

/// The whole command line, with help that shows commands in groups.
pub fn command() -> clap::Command {
    let command = Cli::command();
    let title = TITLE;
    let groups: String = GROUPS
        .iter()
        .map(|(title, names)| group(&command, title, names))
        .collect();
    command.help_template(format!(
        "{{about}}\n\nUsage: railhead <COMMAND> [OPTIONS]\n\n{groups}{title}Options{title:#}\n\
         {{options}}\n\nFirst steps: railhead login --api URL, then in a folder with a Dockerfile: railhead up\n"
    ))
}

fn group(command: &clap::Command, title: &str, names: &[&str]) -> String {
    let lines: String = names
        .iter()
        .filter_map(|name| command.find_subcommand(name))
        .map(|found| {
            let about = found
                .get_about()
                .map(ToString::to_string)
                .unwrap_or_default();
            format!("  {:<14}{about}\n", found.get_name())
        })
        .collect();
    format!("{TITLE}{title}{TITLE:#}\n{lines}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn every_command_is_in_one_group() {
        let mut grouped: Vec<&str> = GROUPS
            .iter()
            .flat_map(|(_, names)| *names)
            .copied()
            .collect();
        grouped.sort_unstable();
        let command = command();
        let mut all: Vec<&str> = command
            .get_subcommands()
            .map(clap::Command::get_name)
            .collect();
        all.sort_unstable();
        assert_eq!(grouped, all);
    }

    #[test]
    fn everything_says_what_it_is() {
        fn check(command: &clap::Command, path: &str) {
            assert!(command.get_about().is_some(), "{path} has no help");
            for argument in command.get_arguments() {
                let id = argument.get_id();
                assert!(argument.get_help().is_some(), "{path} {id} has no help");
            }
            for below in command.get_subcommands() {
                check(below, &format!("{path} {}", below.get_name()));
            }
        }
        check(&command(), "railhead");
    }

    #[test]
    fn help_shows_the_groups() {
        insta::assert_snapshot!(command().term_width(100).render_help().to_string());
    }
}
