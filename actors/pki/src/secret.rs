//! Secrets come from files, and a file that cannot be one stops the start with a sentence.

use std::io;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::private_file::{self, NotPrivate, ReadError};

/// No secret of ours comes near it; what is larger is the wrong file.
const MAX_BYTES: usize = 64 << 10;

/// Reads the secret in the file `path` without the newline an editor leaves at its end.
///
/// Refuses when the file is missing, cannot be read, is open to others, is empty or holds fewer
/// than `min_bytes`. Secrets are text for that reason: a raw key could end in a newline of its own.
pub fn read_secret(
    path: impl AsRef<Path>,
    min_bytes: usize,
) -> Result<Zeroizing<Vec<u8>>, SecretError> {
    let path = path.as_ref();
    let mut secret = private_file::read(path, MAX_BYTES).map_err(|error| {
        let path = path.to_owned();
        match error {
            ReadError::NotPrivate(why) => SecretError::NotPrivate(why),
            ReadError::Io(source) if source.kind() == io::ErrorKind::NotFound => {
                SecretError::Missing { path }
            }
            ReadError::Io(source) => SecretError::Unreadable { path, source },
        }
    })?;
    if secret.last() == Some(&b'\n') {
        secret.pop();
        if secret.last() == Some(&b'\r') {
            secret.pop();
        }
    }
    match secret.len() {
        0 => Err(SecretError::Empty { path: path.to_owned() }),
        found if found < min_bytes => {
            Err(SecretError::Short { path: path.to_owned(), found, needed: min_bytes })
        }
        _ => Ok(secret),
    }
}

/// Removes a secret file whose secret is kept elsewhere by now. `Ok(false)` when there is none.
pub fn remove_secret(path: impl AsRef<Path>) -> io::Result<bool> {
    match std::fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Why a secret file gives no secret: the file and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("the secret file {path} does not exist: run `init`, or copy it from another node")]
    Missing { path: PathBuf },
    #[error("the secret file {path} cannot be read: give it to the user of the service")]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("the secret file {0}")]
    NotPrivate(NotPrivate),
    #[error("the secret file {path} is empty: remove it and run `init`, or copy it again")]
    Empty { path: PathBuf },
    #[error(
        "the secret file {path} holds {found} bytes and needs at least {needed}: replace it by \
         a longer one"
    )]
    Short { path: PathBuf, found: usize, needed: usize },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::write_new;

    #[test]
    fn the_newline_at_the_end_is_not_part_of_the_secret() {
        for (written, read) in
            [("abcd", "abcd"), ("abcd\n", "abcd"), ("abcd\r\n", "abcd"), ("ab\n\n", "ab\n")]
        {
            let (_directory, path) = holding(written);
            assert_eq!(*read_secret(path, 1).unwrap(), read.as_bytes(), "{written:?}");
        }
    }

    #[test]
    fn an_error_names_the_file_and_what_to_do() {
        let (directory, path) = holding("\n");
        let name = path.display();
        assert_eq!(
            read_secret(&path, 1).unwrap_err().to_string(),
            format!("the secret file {name} is empty: remove it and run `init`, or copy it again"),
        );

        let (_short, path) = holding("abc\n");
        let sentence = read_secret(&path, 4).unwrap_err().to_string();
        assert!(sentence.contains(&path.display().to_string()), "{sentence}");
        assert!(sentence.contains("holds 3 bytes and needs at least 4"), "{sentence}");

        let missing = read_secret(directory.path().join("none"), 1).unwrap_err();
        assert!(matches!(missing, SecretError::Missing { .. }), "{missing}");
        assert!(missing.to_string().contains("none does not exist: run `init`"), "{missing}");
    }

    #[test]
    fn what_is_no_secret_file_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let error = read_secret(directory.path(), 1).unwrap_err();
        assert!(matches!(error, SecretError::NotPrivate(_)), "{error}");

        let (_large, path) = holding(&"x".repeat(MAX_BYTES + 1));
        let error = read_secret(path, 1).unwrap_err();
        assert!(matches!(error, SecretError::Unreadable { .. }), "{error}");
    }

    fn holding(text: &str) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        write_new(&path, text.as_bytes(), 0o600).unwrap();
        (directory, path)
    }
}
