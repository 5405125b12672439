//! The commands in a page of Markdown, and what they are said to print.

use anyhow::{Context, ensure};

/// What a block says when it is run begins with a line of ours: this, and its place.
pub(super) const BEGINS: &str = "=== block";

/// Commands, and the lines that the page promises of them.
#[derive(Debug)]
pub(super) struct Block {
    /// File and line.
    pub(super) place: String,
    /// The heading above it, with its number signs; empty if there is none.
    pub(super) heading: String,
    pub(super) commands: String,
    promised: Vec<String>,
}

/// Returns the blocks of commands of a page, fenced as `sh`, in order; of one section of it, up to
/// the next heading, if one is named. A block that follows and is fenced as `text` holds lines that
/// the commands print, among others.
pub(super) fn blocks(file: &str, text: &str, section: Option<&str>) -> anyhow::Result<Vec<Block>> {
    let lines: Vec<_> = text.lines().collect();
    let begin = match section {
        Some(section) => lines.iter().position(|line| *line == section).context("no section")? + 1,
        None => 0,
    };
    let mut found: Vec<Block> = Vec::new();
    let mut heading = section.unwrap_or_default();
    let mut numbered = lines.iter().enumerate().skip(begin);
    while let Some((number, line)) = numbered.next() {
        if section.is_some() && line.starts_with('#') {
            break;
        }
        if line.starts_with('#') {
            heading = line;
        }
        let Some(kind) = line.strip_prefix("```") else { continue };
        let mut inside = Vec::new();
        loop {
            let (_, line) =
                numbered.next().with_context(|| format!("{file}: no end of a fence"))?;
            if *line == "```" {
                break;
            }
            inside.push(*line);
        }
        match kind {
            "sh" => found.push(Block {
                place: format!("{file}:{}", number + 1),
                heading: heading.to_owned(),
                commands: inside.join("\n"),
                promised: Vec::new(),
            }),
            "text" => {
                let block = found.last_mut().context("lines that nothing prints")?;
                block.promised.extend(inside.into_iter().map(str::to_owned));
            }
            other => ensure!(other == "toml", "{file}:{}: who runs {other}?", number + 1),
        }
    }
    Ok(found)
}

/// Checks that each of `blocks` was run, and that `said` has what the page promises of it, from
/// everywhere where it was run.
pub(super) fn check(blocks: &[Block], said: &str) -> anyhow::Result<()> {
    for block in blocks {
        let begin = format!(" {}\n", block.place);
        let mut parts = said.split(BEGINS).filter_map(|part| part.strip_prefix(&begin)).peekable();
        ensure!(parts.peek().is_some(), "{} was not run: {said}", block.place);
        parts.try_for_each(|said| block.check(said))?;
    }
    Ok(())
}

impl Block {
    /// Checks that `said` has each promised line, in which `…` stands for anything.
    fn check(&self, said: &str) -> anyhow::Result<()> {
        for promised in &self.promised {
            let found = said.lines().any(|line| is_like(line, promised));
            ensure!(found, "{}: no line is as {promised:?}: {said}", self.place);
        }
        Ok(())
    }
}

fn is_like(line: &str, promised: &str) -> bool {
    let mut rest = line;
    promised.split('…').enumerate().all(|(number, part)| match rest.find(part) {
        Some(at) if number > 0 || at == 0 => {
            rest = &rest[at + part.len()..];
            true
        }
        _ => false,
    })
}

#[test]
fn commands_are_found_with_what_they_print() {
    let page =
        "# a\n```sh\nfalse\n```\n## b\n\n```sh\necho 'x 1 y'\n```\n\n```text\nx … y\n```\n# c\n";
    let all = blocks("p", page, None).expect("a page");
    assert_eq!(all.len(), 2);
    assert_eq!((all[0].heading.as_str(), all[1].heading.as_str()), ("# a", "## b"));
    let some = blocks("p", page, Some("## b")).expect("a section");
    assert_eq!((some.len(), some[0].place.as_str()), (1, "p:7"));
    assert_eq!(some[0].commands, "echo 'x 1 y'");
    assert!(some[0].check("first\nx 1 y\n").is_ok() && some[0].check("y 1 x\n").is_err());
    assert!(some[0].check("a x 1 y").is_err(), "a line begins as it is promised");
    assert!(blocks("p", page, Some("## d")).is_err());
    assert!(blocks("p", "```sh\n", None).is_err() && blocks("p", "```json\n```", None).is_err());
}
