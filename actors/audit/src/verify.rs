//! Reads the files of a log and finds what was removed, changed or moved.

use std::fmt;

use stream_pki::MacKey;

use crate::chain::{Head, Line, Mac, Torn};
use crate::entry::{BEGIN, GAP};

/// Something to know of a log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// The name of the file.
    pub file: String,
    /// The line in it, from 1.
    pub line: usize,
    pub text: String,
    /// Whether it means that the log was changed. A crash or a full disk leaves findings that do
    /// not.
    pub is_change: bool,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, text, .. } = self;
        write!(f, "{file}:{line}: {text}")
    }
}

/// What became of one file, or of all of a log.
#[derive(Debug, Default)]
pub struct Report {
    /// The units that have written it.
    pub units: Vec<String>,
    pub lines: usize,
    pub last: Option<Head>,
    pub findings: Vec<Finding>,
}

impl Report {
    /// Whether nothing was removed, changed or moved, as far as the files can tell.
    pub fn is_intact(&self) -> bool {
        self.findings.iter().all(|finding| !finding.is_change)
    }
}

/// Checks the files of one log, each with its name, in whatever order. `remembered` is what is
/// known of the log from elsewhere.
pub fn verify(key: &MacKey, files: &[(String, Vec<u8>)], remembered: Option<Head>) -> Report {
    let wanted = remembered.map(|head| head.seq);
    let mut checked: Vec<_> =
        files.iter().map(|(name, bytes)| FileCheck::of(key, name, bytes, wanted)).collect();
    checked.sort_by_key(|file| file.before.map_or(0, |head| head.seq));
    let mut report = Report::default();
    let mut at_wanted = None;
    let mut previous: Option<(String, usize, Head)> = None;
    for mut file in checked {
        report.lines += file.lines;
        if let Some(before) = file.before {
            let text = match &previous {
                Some((_, _, last)) if *last == before => None,
                Some((name, _, last)) => Some((between(name, *last, before), true)),
                None if before.mac == Mac::NONE => None,
                None => Some(("the files before it are not looked at".to_owned(), false)),
            };
            file.findings.extend(text.map(|(text, is_change)| file.finding(1, text, is_change)));
        }
        if let Some(last) = file.last {
            previous = Some((file.name.clone(), file.lines, last));
            report.last = Some(last);
        }
        at_wanted = at_wanted.or(file.at_wanted);
        if let Some(unit) = file.unit.take().filter(|unit| !report.units.contains(unit)) {
            report.units.push(unit);
        }
        report.findings.append(&mut file.findings);
    }
    if let (Some(remembered), Some((file, line, last))) = (remembered, previous) {
        let finding = |text| Finding { file, line, text, is_change: true };
        let Head { seq, mac } = remembered;
        if seq > last.seq {
            let text = format!(
                "lines are missing at the end: NATS remembers number {seq}, and the last one is {}",
                last.seq
            );
            report.findings.push(finding(text));
        } else if at_wanted.is_some_and(|found| found != mac) {
            let text = format!("number {seq} is another line than the one that NATS remembers");
            report.findings.push(finding(text));
        }
    }
    report
}

/// Says how the line behind `before` does not follow on the last one of the file `name`.
fn between(name: &str, last: Head, before: Head) -> String {
    if before.seq > last.seq {
        return format!("{} missing between {name} and this file", lines(last.seq, before.seq));
    }
    format!("it does not follow on {name}: one of both was replaced, or is given twice")
}

/// Names the lines behind `last`, up to the one with the number `to`.
fn lines(last: u64, to: u64) -> String {
    match to - last {
        1 => format!("line number {to} is"),
        _ => format!("lines number {} to {to} are", last + 1),
    }
}

/// What one file says for itself.
struct FileCheck {
    name: String,
    unit: Option<String>,
    lines: usize,
    /// The line that comes before the first one, as that says.
    before: Option<Head>,
    last: Option<Head>,
    /// The code of the line with the number that is wanted.
    at_wanted: Option<Mac>,
    findings: Vec<Finding>,
}

impl FileCheck {
    fn of(key: &MacKey, name: &str, bytes: &[u8], wanted: Option<u64>) -> Self {
        let (name, findings) = (name.to_owned(), Vec::new());
        let (before, last, at_wanted) = (None, None, None);
        let mut file = Self { name, unit: None, lines: 0, before, last, at_wanted, findings };
        // What is no line, from which line on, until the next one that is.
        let mut torn: Option<(usize, Vec<u8>)> = None;
        for (at, text) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
            let at = at + 1;
            let whole = text.strip_suffix(b"\n");
            match Line::parse(whole.unwrap_or(text)) {
                Some(line) => {
                    file.take(key, at, &line, torn.take());
                    if wanted == Some(line.head.seq) {
                        file.at_wanted = Some(line.head.mac);
                    }
                }
                None => {
                    let torn = torn.get_or_insert_with(|| (at, Vec::new()));
                    torn.1.extend_from_slice(text);
                }
            }
        }
        if let Some((at, bytes)) = torn {
            let is_open = bytes.last() != Some(&b'\n');
            let text = match is_open {
                true => "the last line is torn: the service ends it when it starts again",
                false => "it is no line of an audit log",
            };
            file.find(at, text, !is_open);
        }
        file
    }

    /// Takes the line number `at`; before it is `torn`, which is no line.
    fn take(&mut self, key: &MacKey, at: usize, line: &Line<'_>, torn: Option<(usize, Vec<u8>)>) {
        self.lines += 1;
        let before = self.last.or_else(|| {
            let entry = &line.entry;
            let prev = entry.prev.filter(|_| entry.what == BEGIN)?;
            self.unit = entry.unit.clone();
            self.before = Some(Head { seq: line.head.seq.saturating_sub(1), mac: prev });
            self.before
        });
        match (torn, &line.entry.torn) {
            (None, None) => {}
            (Some((from, bytes)), Some(said)) if is_what_was_torn(&bytes, said) => {
                self.find(from, &format!("a line was torn, as line {at} says"), false);
            }
            (Some((from, _)), _) => {
                self.find(from, "it is no line of an audit log: it was changed or put in", true);
            }
            (None, Some(_)) => self.find(at, "what it says was torn is missing", true),
        }
        match before {
            None => self.find(at, "lines before it are missing: no file begins with it", true),
            Some(before) => {
                let (last, seq) = (before.seq, line.head.seq);
                let is_next = last.checked_add(1) == Some(seq);
                if is_next && !line.follows(key, before.mac) {
                    self.find(at, "it was changed, or the end of the line before it", true);
                } else if seq > last && !is_next {
                    let text = format!("{} missing before it", lines(last, seq - 1));
                    self.find(at, &text, true);
                } else if !is_next {
                    let text = format!("number {seq} stands behind number {last}");
                    self.find(at, &text, true);
                }
            }
        }
        if line.entry.what == GAP {
            let seq = line.entry.head.map_or(0, |head| head.seq);
            let text = format!("lines up to number {seq} were missing when this one was written");
            self.find(at, &text, true);
        }
        self.last = Some(line.head);
    }

    fn find(&mut self, line: usize, text: &str, is_change: bool) {
        let finding = self.finding(line, text.to_owned(), is_change);
        self.findings.push(finding);
    }

    fn finding(&self, line: usize, text: String, is_change: bool) -> Finding {
        Finding { file: self.name.clone(), line, text, is_change }
    }
}

/// The end of the line that was torn was put behind it.
fn is_what_was_torn(bytes: &[u8], said: &Torn) -> bool {
    Torn::of(bytes.strip_suffix(b"\n").unwrap_or(bytes)) == *said
}

#[cfg(test)]
mod tests;
