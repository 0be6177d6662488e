//! `completion`: scripts for the shells' own completion.

use clap::{Args, ValueEnum};
use clap_complete::Shell;

use crate::{args, context::Context, error::Result};

#[derive(Debug, Args)]
#[command(after_help = "\
bash:  railhead completion bash > ~/.local/share/bash-completion/completions/railhead
zsh:   railhead completion zsh > \"${fpath[1]}/_railhead\"
fish:  railhead completion fish > ~/.config/fish/completions/railhead.fish")]
pub struct Arguments {
    /// The shell that reads it
    shell: Supported,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Supported {
    Bash,
    Zsh,
    Fish,
}

pub fn run(context: &Context, arguments: &Arguments) -> Result {
    let shell = match arguments.shell {
        Supported::Bash => Shell::Bash,
        Supported::Zsh => Shell::Zsh,
        Supported::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut args::command(), "railhead", &mut script);
    context.output.bytes(&script)
}
