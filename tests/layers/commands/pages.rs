//! What people read about commands: pages of Markdown, and the comments of configuration files.

/// Where something that may be a command stands: its line, from 1.
#[derive(Debug, PartialEq)]
pub(super) enum Passage {
    /// Commands for a shell.
    Block { line: usize, text: String },
    /// Words that a sentence or a table quotes.
    Quoted { line: usize, text: String },
}

/// Returns the blocks and the quoted words of a page of Markdown.
pub(super) fn of_markdown(text: &str) -> Vec<Passage> {
    let (mut found, mut paragraph) = (Vec::new(), Paragraph::default());
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let Some(kind) = line.trim_start().strip_prefix("```") else {
            paragraph.add(number + 1, line, &mut found);
            continue;
        };
        paragraph.end(&mut found);
        let inside: Vec<_> =
            lines.by_ref().map(|(_, line)| line).take_while(|line| line.trim() != "```").collect();
        if kind == "sh" {
            found.push(Passage::Block { line: number + 2, text: inside.join("\n") });
        }
    }
    paragraph.end(&mut found);
    found
}

/// Returns the same of the comments of a configuration file, in which lines that are set in by more
/// than a space are commands.
pub(super) fn of_comments(text: &str) -> Vec<Passage> {
    let (mut found, mut paragraph) = (Vec::new(), Paragraph::default());
    let mut block: Option<(usize, String)> = None;
    let end_block = |block: &mut Option<(usize, String)>, found: &mut Vec<Passage>| {
        found.extend(block.take().map(|(line, text)| Passage::Block { line, text }));
    };
    for (number, line) in text.lines().enumerate() {
        let comment = line.trim_start().strip_prefix('#');
        let set_in = comment.filter(|text| text.starts_with("  ") && !text.contains('`'));
        if let Some(text) = set_in {
            paragraph.end(&mut found);
            let (_, commands) = block.get_or_insert_with(|| (number + 1, String::new()));
            commands.push_str(text);
            commands.push('\n');
            continue;
        }
        end_block(&mut block, &mut found);
        paragraph.add(number + 1, comment.unwrap_or(""), &mut found);
    }
    end_block(&mut block, &mut found);
    paragraph.end(&mut found);
    found
}

/// Lines between empty ones: what is quoted may go on in the next line.
#[derive(Default)]
struct Paragraph(Vec<(usize, String)>);

impl Paragraph {
    fn add(&mut self, number: usize, line: &str, found: &mut Vec<Passage>) {
        if line.trim().is_empty() {
            return self.end(found);
        }
        self.0.push((number, line.trim().to_owned()));
    }

    fn end(&mut self, found: &mut Vec<Passage>) {
        let mut quoted: Option<(usize, String)> = None;
        for (number, line) in self.0.drain(..) {
            for (at, part) in line.split('`').enumerate() {
                if at > 0 {
                    match quoted.take() {
                        Some((line, text)) => found.push(Passage::Quoted { line, text }),
                        None => quoted = Some((number, String::new())),
                    }
                }
                if let Some((_, text)) = &mut quoted {
                    text.push_str(&part.replace("\\|", "|"));
                }
            }
            if let Some((_, text)) = &mut quoted {
                text.push(' ');
            }
        }
    }
}

#[test]
fn blocks_and_quoted_words_are_found_with_their_lines() {
    let quoted = |line, text: &str| Passage::Quoted { line, text: text.to_owned() };
    let block = |line, text: &str| Passage::Block { line, text: text.to_owned() };
    let page = "Say `a` or `b\nc`.\n\n```sh\nd\n  e\n```\n```text\n`f`\n```\n| `g\\|h` |\n";
    let found = [quoted(1, "a"), quoted(1, "b c"), block(5, "d\n  e"), quoted(11, "g|h")];
    assert_eq!(of_markdown(page), found);
    let file = "# By `a`:\n#   b |\n#     c\n\nkey = 1 # no `d`\n#e\n# `f`\n";
    assert_eq!(of_comments(file), [quoted(1, "a"), block(2, "   b |\n     c\n"), quoted(7, "f")]);
}
