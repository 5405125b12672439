use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::entry::Entry;
use crate::writer::Writer;

fn key() -> MacKey {
    MacKey::derive(b"a secret", "a test")
}

fn entry(number: usize) -> Entry {
    Entry::step("unit", "session", "session.note", &format!("step {number}"), true)
}

/// A log of `files` files with three lines in each but for its first one.
fn written(dir: &Path, files: usize) -> Vec<(String, Vec<u8>)> {
    let path = dir.join("log");
    let mut writer = Writer::open(&path, key(), "unit", u64::MAX).expect("a log");
    let mut names = Vec::new();
    for file in 1..=files {
        for line in 0..3 {
            writer.append(entry(10 * file + line)).expect("written");
        }
        let name = dir.join(format!("log.{file}"));
        std::fs::rename(&path, &name).expect("moved");
        if file < files {
            writer.reopen().expect("a new file");
        }
        names.push(name);
    }
    let read = |path: std::path::PathBuf| {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        (name, std::fs::read(path).expect("read"))
    };
    names.into_iter().map(read).collect()
}

fn one_file() -> Vec<String> {
    let dir = tempfile::tempdir().expect("a directory");
    let (_, bytes) = written(dir.path(), 1).remove(0);
    let text = String::from_utf8(bytes).expect("text");
    text.split_inclusive('\n').map(str::to_owned).collect()
}

fn found(lines: &[String]) -> (bool, Vec<String>) {
    let files = [("log".to_owned(), lines.concat().into_bytes())];
    let report = verify(&key(), &files, None);
    (report.is_intact(), report.findings.iter().map(Finding::to_string).collect())
}

#[test]
fn an_untouched_log_is_intact_in_whatever_order_its_files_are_given() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut files = written(dir.path(), 3);
    files.rotate_left(1);
    let report = verify(&key(), &files, None);
    assert_eq!((report.findings.as_slice(), report.lines), (&[][..], 12));
    assert_eq!(report.units, ["unit"]);
    let last = report.last.expect("a last line");
    assert_eq!(last.seq, 12);
    assert_eq!(verify(&key(), &files, Some(last)).findings, []);
    let other = verify(&MacKey::derive(b"another secret", "a test"), &files, None);
    assert_eq!(other.findings.len(), 12, "every line is wrong under another key");
}

#[test]
fn whatever_is_done_to_a_line_is_found_and_named() {
    type Change = fn(&mut Vec<String>);
    let table: [(&str, Change, &str); 12] = [
        ("removed", |log| drop(log.remove(2)), "log:3: line number 3 is missing before it"),
        ("the first one removed", |log| drop(log.remove(0)), "log:1: lines before it are missing"),
        ("changed", |log| log[2] = log[2].replace("step 11", "step 77"), "log:3: it was changed"),
        ("renumbered", |log| log[2] = log[2].replace("\"seq\":3", "\"seq\":9"), "log:3: "),
        ("swapped", |log| log.swap(1, 2), "log:2: "),
        ("moved to the end", |log| log.rotate_left(1), "log:1: lines before it are missing"),
        ("put in twice", |log| log.insert(2, log[1].clone()), "log:3: number 2 stands behind"),
        ("put in", |log| log.insert(2, "{\"seq\":3}\n".to_owned()), "log:3: it is no line"),
        ("an empty line put in", |log| log.insert(2, "\n".to_owned()), "log:3: it is no line"),
        (
            "the code changed",
            |log| {
                let end = log[2].len() - 4;
                let digit = if &log[2][end..=end] == "0" { "1" } else { "0" };
                log[2].replace_range(end..=end, digit);
            },
            "log:3: it was changed",
        ),
        ("a time changed", |log| log[1] = log[1].replace("\"at\":\"2", "\"at\":\"3"), "log:2: it "),
        ("spelt otherwise", |log| log[1] = log[1].replace("\":\"", "\": \""), "log:2: it "),
    ];
    for (what, change, expected) in table {
        let mut log = one_file();
        assert_eq!(found(&log), (true, vec![]));
        change(&mut log);
        let (is_intact, findings) = found(&log);
        assert!(!is_intact, "{what}: nothing was found");
        assert!(findings[0].starts_with(expected), "{what}: {findings:?}");
    }
}

#[test]
fn a_file_that_is_missing_or_another_one_is_found() {
    let dir = tempfile::tempdir().expect("a directory");
    let files = written(dir.path(), 3);
    let findings = |files: &[(String, Vec<u8>)]| {
        let report = verify(&key(), files, None);
        let texts: Vec<_> = report.findings.iter().map(Finding::to_string).collect();
        (report.is_intact(), texts.join(" "))
    };
    let (is_intact, text) = findings(&[files[0].clone(), files[2].clone()]);
    assert!(!is_intact && text.starts_with("log.3:1: lines number 5 to 8 are missing"), "{text}");
    let (is_intact, text) = findings(&files[1..]);
    assert!(is_intact && text == "log.2:1: the files before it are not looked at", "{text}");

    let elsewhere = tempfile::tempdir().expect("a directory");
    let other = written(elsewhere.path(), 3);
    let (is_intact, text) = findings(&[files[0].clone(), other[1].clone()]);
    assert!(!is_intact && text.contains("it does not follow on log.1"), "{text}");
}

#[test]
fn an_end_that_was_cut_off_is_found_by_what_nats_remembers() {
    let dir = tempfile::tempdir().expect("a directory");
    let files = written(dir.path(), 2);
    let last = verify(&key(), &files, None).last.expect("a last line");
    let check = |files: &[(String, Vec<u8>)], head| {
        verify(&key(), files, Some(head)).findings.first().map(Finding::to_string)
    };
    let missing = "log.1:4: lines are missing at the end: NATS remembers number 8, and the last";
    assert!(check(&files[..1], last).is_some_and(|text| text.starts_with(missing)));
    let other = Head { seq: 3, ..last };
    let another = "number 3 is another line than the one that NATS remembers";
    assert!(check(&files, other).is_some_and(|text| text.ends_with(another)));
}

#[test]
fn a_torn_end_is_no_change_and_what_was_torn_is_accounted_for() {
    let mut log = one_file();
    let end = log.pop().expect("a line");
    let half = end[..end.len() / 2].to_owned();
    log.push(half);
    let (is_intact, findings) = found(&log);
    assert!(is_intact && findings[0].starts_with("log:4: the last line is torn"), "{findings:?}");

    // The service goes on.
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("log");
    std::fs::write(&path, log.concat()).expect("written");
    let mut writer = Writer::open(&path, key(), "unit", u64::MAX).expect("a log");
    writer.append(entry(1)).expect("written");
    let read = || {
        let text = std::fs::read_to_string(&path).expect("read");
        text.split_inclusive('\n').map(str::to_owned).collect::<Vec<_>>()
    };
    let (is_intact, findings) = found(&read());
    assert!(is_intact && findings == ["log:4: a line was torn, as line 5 says"], "{findings:?}");
    for change in [
        (|log| drop(log.remove(3))) as fn(&mut Vec<String>),
        |log| log[3].insert(0, 'x'),
        |log| log.insert(3, log[3].clone()),
    ] {
        let mut changed = read();
        change(&mut changed);
        assert!(!found(&changed).0, "what was torn was changed");
    }
}

proptest! {
    #[test]
    fn any_changed_bit_is_found(bit: prop::sample::Index) {
        let mut bytes = one_file().concat().into_bytes();
        let bit = bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        let report = verify(&key(), &[("log".to_owned(), bytes)], None);
        prop_assert!(!report.findings.is_empty());
    }

    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>, seq: u64) {
        let head = Head { seq, mac: Mac::NONE };
        let _ = verify(&key(), &[("log".to_owned(), bytes)], Some(head));
    }
}
