//! The one way a secret is read from disk: a file that others can read, or change, is no secret.
//!
//! The opened file is judged, so that nothing can be put in its place between the look and the
//! read. Symbolic links are followed, as tools that mount secrets make them; the target counts.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::process::geteuid;
use zeroize::Zeroizing;

use crate::digest::sha256;
use crate::user_name::user_name;

/// What nobody but the owner may do: write for the group, read and write for the others.
const EXPOSING: u32 = 0o026;

/// The largest file that is compared with what it was, in bytes.
const MAX_COMPARED_BYTES: usize = 1 << 20;

/// Why a file is not taken for a secret. The sentence says how it is and how it has to be.
#[derive(Debug, thiserror::Error)]
pub enum NotPrivate {
    #[error(
        "{path} has mode {mode:04o}, so that {whom}: whoever could read it may know the secret, \
         so make it anew if that matters, and `chmod 0640 {path}`"
    )]
    Mode { path: PathBuf, mode: u32, whom: &'static str },
    #[error(
        "{path} belongs to user {owner}, and is read as user {reader}: run this as user {owner}, \
         or `chown {reader} {path}`", owner = user_name(*.owner), reader = user_name(*.reader)
    )]
    Owner { path: PathBuf, owner: u32, reader: u32 },
    #[error("{path} is no regular file: name the file that holds the secret")]
    NoFile { path: PathBuf },
}

/// Why there is no secret in a file.
#[derive(Debug)]
pub(crate) enum ReadError {
    Io(io::Error),
    NotPrivate(NotPrivate),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Reads a file of at most `limit` bytes that is for its owner: root, or the user of this process.
/// Its group may read it. What is read is wiped when dropped.
pub(crate) fn read(path: &Path, limit: usize) -> Result<Zeroizing<Vec<u8>>, ReadError> {
    let file = open(path)?;
    judge(path, &file.metadata()?, geteuid().as_raw()).map_err(ReadError::NotPrivate)?;
    Ok(read_limited(file, limit)?)
}

/// Reads a file of at most `limit` bytes that is for everybody; wiped all the same.
pub(crate) fn read_public(path: &Path, limit: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    let file = open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it is no regular file"));
    }
    read_limited(file, limit)
}

/// Returns what is another one once the file holds something else, or others may read it or own
/// it. `None` when it cannot be read.
pub fn file_state(path: impl AsRef<Path>) -> Option<[u8; 32]> {
    let file = open(path.as_ref()).ok()?;
    let metadata = file.metadata().ok().filter(Metadata::is_file)?;
    let mut bytes = read_limited(file, MAX_COMPARED_BYTES).ok()?;
    bytes.extend_from_slice(&metadata.mode().to_be_bytes());
    bytes.extend_from_slice(&metadata.uid().to_be_bytes());
    Some(sha256(&bytes))
}

/// Opens without waiting: a named pipe has no end.
fn open(path: &Path) -> io::Result<File> {
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

fn judge(path: &Path, metadata: &Metadata, reader: u32) -> Result<(), NotPrivate> {
    let path = path.to_owned();
    if !metadata.is_file() {
        return Err(NotPrivate::NoFile { path });
    }
    let (owner, mode) = (metadata.uid(), metadata.permissions().mode() & 0o7777);
    if owner != 0 && owner != reader {
        return Err(NotPrivate::Owner { path, owner, reader });
    }
    let whom = match mode & EXPOSING {
        0 => return Ok(()),
        exposing if exposing & 0o004 != 0 => "everybody may read it",
        exposing if exposing & 0o002 != 0 => "everybody may change it",
        _ => "its group may change it",
    };
    Err(NotPrivate::Mode { path, mode, whom })
}

fn read_limited(file: File, limit: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    // Room for all of it at once, and for what is added to compare: a vector that grows leaves
    // copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(limit + 16));
    file.take(limit as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > limit {
        return Err(ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::symlink;

    use super::*;

    fn secret(mode: u32) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        fs::write(&path, "secret").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        (directory, path)
    }

    fn refused(path: &Path) -> String {
        match read(path, 100) {
            Err(ReadError::NotPrivate(why)) => why.to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_a_file_that_others_can_neither_read_nor_change_is_a_secret() {
        for mode in [0o400, 0o600, 0o640, 0o440, 0o700, 0o750] {
            let (_directory, path) = secret(mode);
            assert_eq!(*read(&path, 100).unwrap(), b"secret", "{mode:o}");
        }
        for (mode, whom) in [
            (0o644, "everybody may read it"),
            (0o604, "everybody may read it"),
            (0o602, "everybody may change it"),
            (0o620, "its group may change it"),
            (0o660, "its group may change it"),
        ] {
            let (_directory, path) = secret(mode);
            let sentence = refused(&path);
            let remedy = format!("`chmod 0640 {}`", path.display());
            assert!(sentence.contains(&format!("has mode {mode:04o}")), "{sentence}");
            assert!(sentence.contains(whom) && sentence.contains(&remedy), "{sentence}");
        }
    }

    #[test]
    fn a_link_is_followed_and_its_target_is_judged() {
        let (directory, path) = secret(0o640);
        let link = directory.path().join("link");
        symlink(&path, &link).unwrap();
        assert_eq!(*read(&link, 100).unwrap(), b"secret");
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        assert!(refused(&link).contains("has mode 0644"));
    }

    #[test]
    fn a_file_is_owned_by_root_or_by_its_reader() {
        let (_directory, path) = secret(0o600);
        let metadata = fs::metadata(&path).unwrap();
        let owner = metadata.uid();
        assert!(judge(&path, &metadata, owner).is_ok());
        let stranger = judge(&path, &metadata, owner + 1);
        if owner == 0 {
            assert!(stranger.is_ok(), "what root has written may be read by any service");
            std::os::unix::fs::chown(&path, Some(4242), None).unwrap();
            let sentence = refused(&path);
            assert!(sentence.contains("belongs to user 4242"), "{sentence}");
            assert!(sentence.contains(&format!("`chown root {}`", path.display())), "{sentence}");
        } else {
            assert!(matches!(stranger, Err(NotPrivate::Owner { .. })));
        }
    }

    #[test]
    fn what_is_no_regular_file_or_too_large_is_refused_without_waiting() {
        let directory = tempfile::tempdir().unwrap();
        assert!(refused(directory.path()).contains("is no regular file"));
        let pipe = directory.path().join("pipe");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, mode).unwrap();
        assert!(refused(&pipe).contains("is no regular file"));
        assert!(read_public(&pipe, 100).is_err() && file_state(&pipe).is_none());
        assert!(refused(Path::new("/dev/null")).contains("is no regular file"));

        let (_directory, path) = secret(0o600);
        let error = read(&path, 5).unwrap_err();
        assert!(matches!(error, ReadError::Io(error) if error.kind() == ErrorKind::FileTooLarge));
    }

    #[test]
    fn a_file_is_another_one_when_its_text_or_its_mode_is() {
        let (_directory, path) = secret(0o600);
        let first = file_state(&path).unwrap();
        assert_eq!(file_state(&path), Some(first));
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let exposed = file_state(&path).unwrap();
        assert_ne!(exposed, first);
        fs::write(&path, "other").unwrap();
        assert_ne!(file_state(&path).unwrap(), exposed);
    }
}
