//! The words of the house: none that was retired comes back, and every doc stands on its own.

use std::path::Path;

use crate::sources::{self, shown, without_comments};

/// Words that no identifier holds, since the field has another for what they meant: a `Warden` was
/// a watchdog, `patience` a timeout, and nobody would search for either.
const RETIRED: &[&str] = &[
    "addressee",
    "badness",
    "blink",
    "crowd",
    "desk",
    "ears",
    "furnish",
    "gauge",
    "guests",
    "heir",
    "ledger",
    "lingers",
    "misfit",
    "mouth",
    "neighbours",
    "pardon",
    "patience",
    "pen",
    "pulses",
    "slip",
    "succession",
    "trouble",
    "troubles",
    "warden",
    "wish",
];

/// Words that are retired as names of types, though they are ordinary ones elsewhere.
const RETIRED_TYPES: &[&str] = &[
    "Carrier", "Clock", "Door", "Feed", "House", "Kept", "Letter", "Look", "Near", "Pace",
    "Standing", "Told", "Way", "Ways",
];

/// Words that are retired in the whole house but mean something in one crate of it.
const AT_HOME: &[(&str, &str)] = &[("metrics", "gauge")];

/// How no doc begins: each stands alone on its page.
const BEGINNINGS: &[&str] =
    &["And ", "But ", "Ends that", "One of them", "Takes that back", "The same"];

/// The longest line of a comment, in characters; the formatter sees to code. The row of a table
/// cannot be broken.
const COLUMNS: usize = 100;

#[test]
fn retired_words_stay_out_of_identifiers() {
    let mut found = Vec::new();
    for file in sources::rust() {
        let text = without_strings(&without_comments(&std::fs::read_to_string(&file).unwrap()));
        let retired = identifiers(&text).filter(|name| {
            let part = |word: String| RETIRED.contains(&word.as_str()) && !is_at_home(&file, &word);
            RETIRED_TYPES.contains(name) || words(name).any(part)
        });
        found.extend(retired.map(|name| format!("{}: {name}", shown(&file))));
    }
    found.dedup();
    assert!(found.is_empty(), "retired words:\n{}", found.join("\n"));
}

#[test]
fn identifiers_are_taken_apart_into_words() {
    let apart = |name| words(name).collect::<Vec<_>>();
    assert_eq!(apart("SignalWriter"), ["signal", "writer"]);
    assert_eq!(apart("DRAIN_POLL"), ["drain", "poll"]);
    assert_eq!(apart("open_sockets"), ["open", "sockets"]);
    assert_eq!(apart("HTTPEdge"), ["http", "edge"]);
    let text = without_strings("let a_pen = \"the \\\" mouth\"; 'n'");
    assert_eq!(identifiers(&text).collect::<Vec<_>>(), ["let", "a_pen", "n"]);
}

#[test]
fn no_comment_is_wider_than_a_hundred_columns() {
    let mut found = Vec::new();
    for file in sources::rust() {
        let text = std::fs::read_to_string(&file).unwrap();
        let breakable = |line: &str| {
            let line = line.trim_start();
            let table = line.starts_with("//! |") || line.starts_with("/// |");
            line.starts_with("//") && !table
        };
        let lines = text.lines().enumerate().filter(|(_, line)| breakable(line));
        let long = lines.filter(|(_, line)| line.chars().count() > COLUMNS);
        found.extend(long.map(|(number, _)| format!("{}:{}", shown(&file), number + 1)));
    }
    assert!(found.is_empty(), "lines over {COLUMNS} columns:\n{}", found.join("\n"));
}

#[test]
fn every_doc_stands_on_its_own() {
    let mut found = Vec::new();
    let mut docs = 0;
    for file in sources::rust() {
        let text = std::fs::read_to_string(&file).unwrap();
        let mut before = "";
        for (number, line) in text.lines().map(str::trim_start).enumerate() {
            let doc = line.strip_prefix("/// ").or_else(|| line.strip_prefix("//! "));
            let first = !before.starts_with("///") && !before.starts_with("//!");
            if let Some(doc) = doc.filter(|_| first) {
                docs += 1;
                if BEGINNINGS.iter().any(|beginning| doc.starts_with(beginning)) {
                    found.push(format!("{}:{}: {doc}", shown(&file), number + 1));
                }
            }
            before = line;
        }
    }
    assert!(docs > 500, "the docs were not found: {docs}");
    assert!(found.is_empty(), "docs that need the one above them:\n{}", found.join("\n"));
}

fn is_at_home(file: &Path, word: &str) -> bool {
    let file = shown(file);
    AT_HOME.iter().any(|(name, home)| *home == word && file.contains(&format!("actors/{name}/")))
}

/// `text` without what stands in quotes, where words are anybody's.
fn without_strings(text: &str) -> String {
    let mut quoted = false;
    let mut escaped = false;
    text.chars()
        .map(|c| {
            let keep = !quoted && c != '"';
            match c {
                _ if escaped => escaped = false,
                '\\' if quoted => escaped = true,
                '"' => quoted = !quoted,
                _ => {}
            }
            if keep { c } else { ' ' }
        })
        .collect()
}

fn identifiers(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|name| name.starts_with(|c: char| c.is_alphabetic() || c == '_'))
}

/// The words of an identifier in lowercase, however it joins them.
fn words(identifier: &str) -> impl Iterator<Item = String> {
    let letters: Vec<char> = identifier.chars().collect();
    let mut words = vec![String::new()];
    for (at, letter) in letters.iter().enumerate() {
        let after_lower = at > 0 && letters[at - 1].is_lowercase();
        let before_lower = at > 0
            && letters[at - 1].is_uppercase()
            && letters.get(at + 1).is_some_and(|next| next.is_lowercase());
        let starts = letter.is_uppercase() && (after_lower || before_lower);
        if *letter == '_' || starts {
            words.push(String::new());
        }
        if *letter != '_' {
            words.last_mut().expect("one at least").extend(letter.to_lowercase());
        }
    }
    words.into_iter().filter(|word| !word.is_empty())
}
