//! The end of a file that is to be written on, which a process may have left in the middle of a
//! line.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::chain::{Head, Line, Torn};

/// How much is read of the end of a file. Lines are much shorter.
const TAIL_BYTES: u64 = 64 * 1024;

/// How a file ends.
#[derive(Debug, Default, Eq, PartialEq)]
pub(crate) struct Tail {
    /// Its last line, if there is one.
    pub(crate) head: Option<Head>,
    /// What stands behind that and is no line.
    pub(crate) torn: Option<Torn>,
    /// Whether the last byte is not the end of a line.
    pub(crate) is_open: bool,
}

impl Tail {
    /// Reads the end of `file`.
    pub(crate) fn read(file: &mut File) -> io::Result<Self> {
        let len = file.seek(SeekFrom::End(0))?;
        file.seek(SeekFrom::Start(len.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(Self::of(&bytes))
    }

    fn of(bytes: &[u8]) -> Self {
        let is_open = bytes.last().is_some_and(|byte| *byte != b'\n');
        let mut end = bytes.len() - usize::from(!is_open && !bytes.is_empty());
        let all = end;
        loop {
            let begin = bytes[..end].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            if let Some(line) = Line::parse(&bytes[begin..end]) {
                let torn = bytes.get(end + 1..all).filter(|torn| !torn.is_empty());
                return Self { head: Some(line.head), torn: torn.map(Torn::of), is_open };
            }
            if begin == 0 {
                let torn = (all > 0).then(|| Torn::of(&bytes[..all]));
                return Self { head: None, torn, is_open };
            }
            end = begin - 1;
        }
    }
}

/// Returns the last line of the files that `path` was renamed to, as this log and others do that
/// put something behind the name.
pub(crate) fn last_before(path: &Path) -> Option<Head> {
    let heads = former(path).into_iter().filter_map(|path| {
        let tail = File::open(path).and_then(|mut file| Tail::read(&mut file));
        tail.ok()?.head
    });
    heads.max_by_key(|head| head.seq)
}

/// Returns the files beside `path` whose name begins with its own and a dot.
pub(crate) fn former(path: &Path) -> Vec<PathBuf> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else { return Vec::new() };
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    let own = format!("{}.", name.to_string_lossy());
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let is_former = |path: &PathBuf| {
        path.is_file()
            && path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&own))
    };
    entries.map(|entry| entry.path()).filter(is_former).collect()
}

#[cfg(test)]
mod tests {
    use stream_pki::MacKey;

    use super::*;
    use crate::chain::{self, Mac};

    #[test]
    fn the_last_line_is_found_whatever_is_behind_it() {
        let key = MacKey::derive(b"a secret", "a test");
        let (one, mac) = chain::line(&key, Mac::NONE, r#"{"seq":1}"#);
        let (two, last) = chain::line(&key, mac, r#"{"seq":2}"#);
        let (first, second) = (Head { seq: 1, mac }, Head { seq: 2, mac: last });
        let tail = |text: &str| Tail::of(text.as_bytes());
        let torn = |text: &str| Some(Torn::of(text.as_bytes()));

        assert_eq!(tail(""), Tail::default());
        let good = Tail { head: Some(second), torn: None, is_open: false };
        assert_eq!(tail(&format!("{one}{two}")), good);
        let open = format!("{one}{}", two.trim_end());
        assert_eq!(tail(&open), Tail { is_open: true, ..good }, "it is whole");
        let part = &two[..two.len() / 2];
        let cut = Tail { head: Some(first), torn: torn(part), is_open: true };
        assert_eq!(tail(&format!("{one}{part}")), cut);
        // A process that wanted to end it was cut off, too.
        let twice = Tail { head: Some(first), torn: torn("x\ny"), is_open: true };
        assert_eq!(tail(&format!("{one}x\ny")), twice);
        let ended = Tail { is_open: false, ..twice };
        assert_eq!(tail(&format!("{one}x\ny\n")), ended);
        let none = Tail { head: None, torn: torn("xy"), is_open: true };
        assert_eq!(tail("xy"), none);
    }
}
