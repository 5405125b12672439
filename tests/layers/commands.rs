//! Commands that the documentation names: each is one that the programs understand, with flags that
//! they have, and each script is there.
//!
//! What is fenced as `sh`, or set in in a comment, is a whole command. What a sentence quotes may
//! leave out the rest (`token retire`), and then the program too.

mod pages;
mod shell;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use clap::Command;
use clap::error::ErrorKind;
use pages::Passage;
use shell::simple_commands;
use stream_protocol::SessionId;

use crate::sources::{files, root, shown};

/// What capitals and brackets in a documented command may stand for, one of them.
const VALUES: [&str; 4] = ["name", "1", "24h", "127.0.0.1"];

/// The programs, as their command lines are.
struct Programs(Vec<Command>);

impl Programs {
    fn new() -> Self {
        let services = [stream_agent::cli::agent::command(), stream_agent::cli::gateway::command()];
        Self(services.into_iter().chain([stream_dev::command_line::command()]).collect())
    }

    fn called(&self, name: &str) -> Option<&Command> {
        self.0.iter().find(|program| program.get_name() == name)
    }

    /// Those that have a command of this name.
    fn having<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Command> {
        let has = move |program: &&Command| program.find_subcommand(name).is_some();
        self.0.iter().filter(has)
    }

    /// Checks one command; returns whether it is ours.
    fn check(&self, words: &[String], is_whole: bool) -> Result<bool, String> {
        let Some(first) = words.first() else { return Ok(false) };
        if let Some(script) = first.strip_prefix("scripts/") {
            return self.check_script(script, &words[1..]).map(|()| true);
        }
        if let Some(program) = self.called(first) {
            return understands(program, &words[1..], is_whole).map(|()| true);
        }
        if let Some(flag) = first.strip_prefix("--").filter(|flag| !is_whole && !flag.is_empty()) {
            let flag = flag.split('=').next().unwrap_or(flag);
            let known = self.0.iter().any(|program| has_flag(program, flag));
            return known.then_some(true).ok_or_else(|| format!("no command has --{flag}"));
        }
        // A sentence that quotes one word may mean anything.
        let named: Vec<_> = self.having(first).filter(|_| !is_whole && words.len() > 1).collect();
        let mut refused = named.iter().map(|program| understands(program, words, is_whole));
        match named.is_empty() || refused.clone().any(|refused| refused.is_ok()) {
            true => Ok(!named.is_empty()),
            false => refused.next().unwrap_or(Ok(())).map(|()| true),
        }
    }

    fn check_script(&self, name: &str, arguments: &[String]) -> Result<(), String> {
        let path = root().join("scripts").join(name);
        let mode = path.metadata().map_err(|error| format!("scripts/{name}: {error}"))?;
        if mode.is_dir() || name == "lib.sh" {
            return Ok(());
        }
        if mode.permissions().mode() & 0o111 == 0 {
            return Err(format!("scripts/{name} cannot be run"));
        }
        if name == "demo" {
            let up = ["up".to_owned()].into_iter().chain(arguments.iter().cloned());
            let up: Vec<_> = up.filter(|word| word != "--").collect();
            return understands(self.called("stream-dev").unwrap(), &up, true);
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let known = |word: &&String| {
            let mut words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
            let in_tests = ["tests/flows", "tests"].map(|dir| root().join(dir).join(word.as_str()));
            let is_test = in_tests.iter().any(|path| path.with_extension("rs").is_file())
                || root().join("actors").join(word.as_str()).is_dir();
            words.any(|known| known == word.as_str()) || (name == "test" && is_test)
        };
        match arguments.iter().find(|word| !known(word)) {
            Some(word) => Err(format!("scripts/{name} knows nothing of {word}")),
            None => Ok(()),
        }
    }
}

fn has_flag(command: &Command, flag: &str) -> bool {
    let own = command.get_arguments().any(|argument| argument.get_long() == Some(flag));
    own || command.get_subcommands().any(|below| has_flag(below, flag))
}

/// Checks that `program` takes `arguments`, with placeholders made what they may stand for.
fn understands(program: &Command, arguments: &[String], is_whole: bool) -> Result<(), String> {
    const IS_CUT: [ErrorKind; 3] = [
        ErrorKind::MissingRequiredArgument,
        ErrorKind::MissingSubcommand,
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand,
    ];
    let (session, fingerprint) = (SessionId::random().to_string(), "0".repeat(64));
    let mut refused = String::new();
    for value in VALUES.into_iter().chain([session.as_str(), fingerprint.as_str()]) {
        let filled: Vec<_> = arguments.iter().map(|word| filled(word, value)).collect();
        // A sentence may name a flag without its value.
        let is_flag = filled.last().is_some_and(|word| word.starts_with("--"));
        let with_value = (!is_whole && is_flag).then(|| [&*filled, &[value.to_owned()]].concat());
        for words in [Some(filled), with_value].into_iter().flatten() {
            let words = [program.get_name().to_owned()].into_iter().chain(words);
            let Err(error) = program.clone().try_get_matches_from(words) else { return Ok(()) };
            match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => return Ok(()),
                kind if !is_whole && IS_CUT.contains(&kind) => return Ok(()),
                _ => refused = error.to_string(),
            }
        }
    }
    Err(refused.lines().next().unwrap_or_default().to_owned())
}

/// `word` with `value` in place of what stands for one.
fn filled(word: &str, value: &str) -> String {
    let (before, last) = word.rsplit_once('=').map_or(("", word), |(flag, last)| (flag, last));
    let capital = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || "-_".contains(c);
    let in_capitals =
        last.starts_with(|c: char| c.is_ascii_uppercase()) && last.chars().all(capital);
    match (in_capitals || (last.starts_with('<') && last.ends_with('>')), before) {
        (false, _) => word.replace('…', value),
        (true, "") => value.to_owned(),
        (true, before) => format!("{before}={value}"),
    }
}

/// Checks what one page says; adds what is wrong, with its place, and returns how many commands are
/// ours.
fn check_page(programs: &Programs, name: &str, page: &[Passage], wrong: &mut Vec<String>) -> usize {
    let mut ours = 0;
    let mut check = |line: usize, words: &[String], is_whole| match programs.check(words, is_whole)
    {
        Ok(is_ours) => ours += usize::from(is_ours),
        Err(why) => wrong.push(format!("{name}:{line}: {}: {why}", words.join(" "))),
    };
    for passage in page {
        match passage {
            Passage::Block { line, text } => {
                for command in simple_commands(text) {
                    check(line + command.line, &command.words, true);
                }
            }
            Passage::Quoted { line, text } => {
                // What is left out is no part of it.
                let text = text.split('…').next().unwrap_or(text).replace(['<', '>'], "");
                let words = simple_commands(&text).into_iter().next().map(|it| it.words);
                check(*line, &words.unwrap_or_default(), false);
            }
        }
    }
    ours
}

/// The pages that people read, and the files whose comments they do.
fn documentation() -> (Vec<PathBuf>, Vec<PathBuf>) {
    let pages = [".github", "actors", "config"].map(|folder| files(&root().join(folder), "md"));
    let pages = pages.into_iter().flatten().chain([root().join("README.md")]).collect();
    let kinds = ["toml", "yml", "yaml", "conf", "service", "socket", "Containerfile"];
    let configuration = kinds.map(|kind| files(&root().join("config"), kind));
    (pages, configuration.into_iter().flatten().collect())
}

#[test]
fn every_command_that_the_documentation_names_is_understood() {
    let (programs, mut wrong) = (Programs::new(), Vec::new());
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    let (pages, configuration) = documentation();
    let mut ours = 0;
    for path in &pages {
        let page = pages::of_markdown(&read(path));
        ours += check_page(&programs, &shown(path), &page, &mut wrong);
    }
    for path in &configuration {
        let text = read(path);
        // What an alert says is no comment, and may quote commands as well.
        let said = match path.ends_with("alerts.yml") {
            true => pages::of_markdown(&text),
            false => pages::of_comments(&text),
        };
        ours += check_page(&programs, &shown(path), &said, &mut wrong);
    }
    assert!(wrong.is_empty(), "not understood:\n{}", wrong.join("\n"));
    assert!(ours > 150, "the commands were not found: {ours}");
}

#[test]
fn a_command_that_nobody_understands_is_told_with_its_place() {
    let programs = Programs::new();
    let wrong = |page: &str| {
        let mut wrong = Vec::new();
        let ours = check_page(&programs, "p", &pages::of_markdown(page), &mut wrong);
        (ours, wrong.join("; "))
    };
    let page = "`token retire`, `--lead`, `drain --cancel`, `drain`, `turn drain <URL>`, `ls -l`\n\
        ```sh\na && stream-agent token retire KID\nscripts/test session --long\n\
        scripts/bench tls\nscripts/demo --smoke\n\
        stream-agent turn credentials --session ID\n```\n";
    assert_eq!(wrong(page), (9, String::new()));
    for (page, place) in [
        ("\n`stream-agent token\nretired`", "p:2: stream-agent token retired: "),
        ("`drain --cancelled`", "p:1: drain --cancelled: "),
        ("`--leads`", "p:1: --leads: no command has --leads"),
        ("```sh\n\nstream-agent token retire\n```", "p:3: stream-agent token retire: "),
        ("```sh\nx=$(stream-gateway account list --al)\n```", "p:2: stream-gateway account list"),
        ("`scripts/tests`", "p:1: scripts/tests: "),
        ("`scripts/test weather`", "p:1: scripts/test weather: "),
        ("`scripts/demo --smok`", "p:1: scripts/demo --smok: "),
        ("`stream-dev load --rates 1`", "p:1: stream-dev load --rates 1: "),
    ] {
        let (_, said) = wrong(page);
        assert!(said.starts_with(place), "{page:?}: {said:?}");
    }
}
