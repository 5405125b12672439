use super::*;
use crate::verify::{Report, verify};

fn key() -> MacKey {
    MacKey::derive(b"a secret", "a test")
}

fn open_log(path: &Path, max_bytes: u64) -> Result<Writer, AuditError> {
    Writer::open(path, key(), "unit", max_bytes)
}

fn step(number: u64) -> Entry {
    Entry::step("unit", "session", "session.note", &format!("step {number}"), true)
}

fn report(path: &Path) -> Report {
    let files: Vec<_> = crate::files_of(path)
        .into_iter()
        .map(|path| (path.display().to_string(), std::fs::read(path).expect("read")))
        .collect();
    verify(&key(), &files, None)
}

#[test]
fn a_log_goes_on_where_it_ended() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("log");
    for round in 1..=3 {
        let mut writer = open_log(&path, u64::MAX).expect("a log");
        writer.append(step(round)).expect("written");
        assert_eq!(writer.head().seq, round + 1, "one for the beginning of the file");
    }
    let report = report(&path);
    assert_eq!((report.findings.len(), report.lines), (0, 4));
}

#[test]
fn a_file_of_its_size_gives_way_to_the_next_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("log");
    let mut writer = open_log(&path, 1000).expect("a log");
    for number in 0..30 {
        writer.append(step(number)).expect("written");
    }
    let files = crate::files_of(&path);
    assert!(files.len() > 3, "{files:?}");
    let of_former = |path: &PathBuf| std::fs::metadata(path).expect("a file").len() >= 1000;
    assert_eq!(files.iter().filter(|path| of_former(path)).count(), files.len() - 1);
    let report = report(&path);
    assert_eq!(report.findings, []);
    assert_eq!(report.lines, 30 + files.len());
}

#[test]
fn it_goes_on_in_a_new_file_when_somebody_has_moved_the_old_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("log");
    let mut writer = open_log(&path, u64::MAX).expect("a log");
    writer.append(step(1)).expect("written");
    writer.reopen().expect("it is still there");
    std::fs::rename(&path, dir.path().join("log.1")).expect("moved");
    writer.append(step(2)).expect("until it is told, lines go into the file that was moved");
    writer.reopen().expect("a new file");
    writer.append(step(3)).expect("written");
    drop(writer);
    assert_eq!((report(&path).findings.len(), report(&path).lines), (0, 5));

    // Also when nobody told it before it ended.
    std::fs::rename(&path, dir.path().join("log.2")).expect("moved");
    open_log(&path, u64::MAX).expect("a log").append(step(4)).expect("written");
    assert_eq!((report(&path).findings.len(), report(&path).lines), (0, 7));
}

#[test]
fn two_processes_do_not_write_one_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("log");
    let _first = open_log(&path, u64::MAX).expect("a log");
    assert!(matches!(open_log(&path, u64::MAX), Err(AuditError::InUse(_))));
    let missing = open_log(&dir.path().join("missing/log"), u64::MAX);
    assert!(matches!(missing, Err(AuditError::Unwritable { .. })));
}

#[test]
fn it_is_for_nobody_else_to_read() {
    use std::os::unix::fs::PermissionsExt;

    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("log");
    open_log(&path, u64::MAX).expect("a log");
    let mode = std::fs::metadata(&path).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, MODE);
}

/// Wherever a process was killed: the next one goes on, and nothing is taken for a change.
#[test]
fn a_file_that_ends_anywhere_is_gone_on_with() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("log");
    let mut writer = open_log(&path, u64::MAX).expect("a log");
    writer.append(step(1)).expect("written");
    drop(writer);
    let whole = std::fs::read(&path).expect("read");
    for len in (0..whole.len()).step_by(3).chain([whole.len() - 1, whole.len()]) {
        std::fs::write(&path, &whole[..len]).expect("written");
        let mut writer = open_log(&path, u64::MAX).expect("a log");
        writer.append(step(2)).expect("written");
        drop(writer);
        let report = report(&path);
        assert!(report.is_intact(), "{len}: {:?}", report.findings);
        assert!(report.lines >= 2, "{len}");
    }
}
