//! `completion`: a script that completes the command line.

use crate::args::Arguments;
use crate::failure::Failure;
use clap::{Args, CommandFactory, ValueEnum};
use clap_complete::Shell;
use std::io::Write;

#[derive(Clone, Debug, Args)]
pub(crate) struct CompletionOptions {
    /// The shell
    shell: KnownShell,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum KnownShell {
    Bash,
    Zsh,
    Fish,
}

pub(crate) fn run(options: CompletionOptions) -> Result<(), Failure> {
    let shell = match options.shell {
        KnownShell::Bash => Shell::Bash,
        KnownShell::Zsh => Shell::Zsh,
        KnownShell::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "coffer", &mut script);
    Ok(std::io::stdout().write_all(&script)?)
}
