//! Man pages and completions, made from the command lines themselves.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Command;
use clap_complete::{Shell, generate};
use clap_mangen::Man;

/// What the foot of a page names.
const SOURCE: &str = concat!("stream-agent ", env!("CARGO_PKG_VERSION"));

/// Where each shell looks for what it completes, below `share`, and what the file of a program is
/// called there.
type Completions = (Shell, &'static str, fn(&str) -> String);

const COMPLETIONS: [Completions; 3] = [
    (Shell::Bash, "bash-completion/completions", |name| name.to_owned()),
    (Shell::Fish, "fish/vendor_completions.d", |name| format!("{name}.fish")),
    (Shell::Zsh, "zsh/vendor-completions", |name| format!("_{name}")),
];

/// Writes what the packages have below `dir`, of both services and of the program `own`.
///
/// # Errors
///
/// Names a file that cannot be written.
pub fn write(dir: &Path, own: Command) -> anyhow::Result<()> {
    let share = dir.join("share");
    for command in [stream_agent::cli::agent::command(), stream_agent::cli::gateway::command(), own]
    {
        let name = command.get_name().to_owned();
        for (shell, folder, file) in COMPLETIONS {
            let mut script = Vec::new();
            generate(shell, &mut command.clone(), name.as_str(), &mut script);
            write_file(&share.join(folder).join(file(&name)), &script)?;
        }
        // Each page names those below it in full.
        let mut whole = command.disable_help_subcommand(true);
        whole.build();
        pages(&share.join("man/man1"), &whole, &name)?;
    }
    Ok(())
}

/// Writes the page of `command` and those of all commands below it.
fn pages(folder: &Path, command: &Command, name: &str) -> anyhow::Result<()> {
    let mut page = Vec::new();
    // A clock in it would make each package another one.
    Man::new(command.clone()).title(name).section("1").date("").source(SOURCE).render(&mut page)?;
    write_file(&folder.join(format!("{name}.1")), &page)?;
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        pages(folder, below, &format!("{name}-{}", below.get_name()))?;
    }
    Ok(())
}

fn write_file(path: &PathBuf, text: &[u8]) -> anyhow::Result<()> {
    let written = path.parent().map_or(Ok(()), fs::create_dir_all);
    written.and_then(|()| fs::write(path, text)).with_context(|| format!("file {}", path.display()))
}
