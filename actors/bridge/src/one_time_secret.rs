//! The file of a secret that begins a sealed record. Once the record has the secret the file is of
//! no use, and one more place to steal it from.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use stream_pki::{SecretError, remove_secret};

/// The file with the first secret of a record. Clones share what is known of it, so that it is
/// dealt with once in the life of a process.
#[derive(Clone, Debug)]
pub struct OneTimeSecret {
    path: PathBuf,
    is_settled: Arc<AtomicBool>,
}

impl OneTimeSecret {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), is_settled: Arc::default() }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the file, now that the record was read back from the store and `is_in_record` finds
    /// the secret of the file in it. Says so once when the file stays: it may not be removed, or
    /// holds another secret, which may be the only copy.
    pub fn settle(&self, is_in_record: impl FnOnce(&Path) -> Result<bool, SecretError>) {
        if self.is_settled.swap(true, Ordering::Relaxed) {
            return;
        }
        let path = self.path.display();
        let why = match is_in_record(&self.path) {
            Err(SecretError::Missing { .. }) => return,
            Err(error) => error.to_string(),
            Ok(false) => "it holds another secret than NATS, which is the one that counts".into(),
            Ok(true) => match remove_secret(&self.path) {
                Ok(true) => {
                    log::info!(file:% = path; "a secret that is in NATS by now is removed");
                    return;
                }
                Ok(false) => return,
                Err(error) => format!("it may not be removed: {error}"),
            },
        };
        log::warn!(
            file:% = path, cause:% = why;
            "remove the file: its secret is used no more, and can only be stolen there"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs;

    use super::*;

    #[test]
    fn the_file_goes_only_when_the_record_has_its_secret() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("root.key");
        fs::write(&path, "first").unwrap();
        OneTimeSecret::new(&path).settle(|_| Ok(false));
        assert!(path.exists(), "another secret may be needed yet");
        let broken = SecretError::Empty { path: path.clone() };
        OneTimeSecret::new(&path).settle(|_| Err(broken));
        assert!(path.exists());
        OneTimeSecret::new(&path).settle(|_| Ok(true));
        assert!(!path.exists());
    }

    #[test]
    fn it_is_dealt_with_once_whoever_asks() {
        let directory = tempfile::tempdir().unwrap();
        // Nothing that can be removed as a file.
        let (file, asked) = (OneTimeSecret::new(directory.path()), Cell::new(0));
        for file in [file.clone(), file] {
            file.settle(|_| {
                asked.set(asked.get() + 1);
                Ok(true)
            });
        }
        assert_eq!(asked.get(), 1);
    }
}
