//! As much of a shell's grammar as documentation uses: the simple commands of a text, wherever they
//! stand, in pipes, conditions and substitutions.

use std::iter::Peekable;
use std::str::Chars;

/// What stands for the value of a variable and for the output of a command.
const VALUE: &str = "1";

/// What may come before the program.
const KEYWORDS: [&str; 10] =
    ["!", "do", "else", "exec", "if", "then", "time", "until", "while", "{"];

/// One program with its arguments, without quotes.
#[derive(Debug, PartialEq)]
pub(super) struct SimpleCommand {
    /// The line of the text that it begins in, from 0.
    pub(super) line: usize,
    pub(super) words: Vec<String>,
}

/// Returns the commands of `text`, without assignments, redirections and `runuser`.
pub(super) fn simple_commands(text: &str) -> Vec<SimpleCommand> {
    let mut reader = Reader { rest: text.chars().peekable(), line: 0, found: Vec::new() };
    reader.list(None);
    let mut found = reader.found;
    for command in &mut found {
        without_prefix(&mut command.words);
    }
    found.retain(|command| !command.words.is_empty());
    found
}

/// Takes away what is before the program that does the work.
fn without_prefix(words: &mut Vec<String>) {
    let is_assignment = |word: &String| {
        let name = word.split_once('=').map(|(name, _)| name).unwrap_or_default();
        !name.is_empty() && name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric())
    };
    let is_prefix = |word: &String| KEYWORDS.contains(&word.as_str()) || is_assignment(word);
    while words.first().is_some_and(is_prefix) {
        words.remove(0);
    }
    if words.first().is_some_and(|word| word == "runuser")
        && let Some(at) = words.iter().position(|word| word == "--")
    {
        words.drain(..=at);
    }
}

struct Reader<'a> {
    rest: Peekable<Chars<'a>>,
    line: usize,
    found: Vec<SimpleCommand>,
}

/// A command that is being read.
#[derive(Default)]
struct Unfinished {
    line: usize,
    words: Vec<String>,
    word: Option<String>,
    /// The next word is a file.
    is_redirected: bool,
    /// The next word ends a document that begins with the next line.
    is_document: bool,
}

impl Unfinished {
    fn push(&mut self, line: usize, text: &str) {
        if self.words.is_empty() && self.word.is_none() {
            self.line = line;
        }
        self.word.get_or_insert_default().push_str(text);
    }

    /// Ends a word; returns it if it is the end of a document.
    fn end_word(&mut self) -> Option<String> {
        let word = self.word.take()?;
        if std::mem::take(&mut self.is_document) {
            return Some(word);
        }
        if !std::mem::take(&mut self.is_redirected) {
            self.words.push(word);
        }
        None
    }
}

impl Reader<'_> {
    fn next(&mut self) -> Option<char> {
        let next = self.rest.next();
        self.line += usize::from(next == Some('\n'));
        next
    }

    /// Reads commands up to the end of the text, or of the parenthesis that was opened.
    fn list(&mut self, end: Option<char>) {
        let (mut command, mut document) = (Unfinished::default(), None);
        while let Some(c) = self.next() {
            match c {
                '\\' => match self.next() {
                    Some('\n') | None => {}
                    Some(escaped) => command.push(self.line, &escaped.to_string()),
                },
                '\'' => {
                    command.push(self.line, "");
                    while let Some(c) = self.next().filter(|c| *c != '\'') {
                        command.push(self.line, &c.to_string());
                    }
                }
                '"' => {
                    command.push(self.line, "");
                    while let Some(c) = self.next().filter(|c| *c != '"') {
                        match c {
                            '\\' => _ = self.next(),
                            '$' => self.value(&mut command),
                            c => command.push(self.line, &c.to_string()),
                        }
                    }
                }
                '$' => self.value(&mut command),
                '#' if command.word.is_none() => {
                    while self.rest.next_if(|c| *c != '\n').is_some() {}
                }
                '<' | '>' => {
                    // The number of a descriptor belongs to it.
                    let _number =
                        command.word.take_if(|word| word.chars().all(|c| c.is_ascii_digit()));
                    document = command.end_word().or(document);
                    let twice = self.rest.next_if_eq(&c).is_some();
                    let _descriptor = self.rest.next_if_eq(&'&');
                    command.is_document = twice && c == '<';
                    command.is_redirected = !command.is_document;
                }
                ' ' | '\t' => document = command.end_word().or(document),
                '\n' | ';' | '|' | '&' | '(' | ')' => {
                    document = command.end_word().or(document);
                    self.finish(std::mem::take(&mut command));
                    if c == '\n' {
                        self.skip(document.take());
                    } else if c == '(' {
                        self.list(Some(')'));
                    } else if end == Some(c) {
                        return;
                    }
                }
                c => command.push(self.line, &c.to_string()),
            }
        }
        command.end_word();
        self.finish(command);
    }

    fn finish(&mut self, Unfinished { line, words, .. }: Unfinished) {
        self.found.push(SimpleCommand { line, words });
    }

    /// Reads what follows a dollar sign: a variable, or commands whose output it stands for.
    fn value(&mut self, command: &mut Unfinished) {
        command.push(self.line, VALUE);
        match self.rest.peek().copied() {
            Some('(') => {
                self.next();
                self.list(Some(')'));
            }
            Some('{') => while self.next().is_some_and(|c| c != '}') {},
            Some(c) if c.is_ascii_alphabetic() || c == '_' => {
                let in_name = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
                while self.rest.next_if(in_name).is_some() {}
            }
            _ => _ = self.next(),
        }
    }

    /// Skips a document up to the line that is `end`.
    fn skip(&mut self, end: Option<String>) {
        let Some(end) = end else { return };
        loop {
            let mut line = String::new();
            loop {
                match self.next() {
                    None => return,
                    Some('\n') => break,
                    Some(c) => line.push(c),
                }
            }
            if line == end {
                return;
            }
        }
    }
}

#[test]
fn commands_are_found_wherever_they_stand() {
    let of = |text: &str| {
        let found = simple_commands(text);
        found.into_iter().map(|it| (it.line, it.words.join(" "))).collect::<Vec<_>>()
    };
    let one = |text: &str| of(text).into_iter().map(|(_, words)| words).collect::<Vec<_>>();
    assert_eq!(one("a 'b c' \"d $e ${f}g\" # h"), ["a b c d 1 1g"]);
    assert_eq!(one("A=1 B=$(c d) runuser -u e -- f --g"), ["c d", "f --g"]);
    assert_eq!(one("until a | b 2>/dev/null; do c; done"), ["a", "b", "c", "done"]);
    assert_eq!(one("(umask 077 && a >b) <c || d"), ["umask 077", "a", "d"]);
    assert_eq!(one("a \"$(b 'c)')\" x"), ["b c)", "a 1 x"]);
    assert_eq!(
        of("a \\\n  b\nc <<END\nd e\nEND\nf"),
        [(0, "a b".to_owned()), (2, "c".to_owned()), (5, "f".to_owned()),]
    );
}
