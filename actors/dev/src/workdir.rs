//! Where a stack lives: a directory that goes away after it, or one that a person chose.

use std::path::Path;

use anyhow::Context;
use stream_pki::create_private_dir;
use tempfile::TempDir;

use crate::keys::KeyStore;

/// The directory of one run, and its keys.
pub struct Workdir {
    pub keys: KeyStore,
    run: TempDir,
    kept: bool,
}

impl Workdir {
    /// Makes a directory for one run: a throwaway one, or one in `state`, where the keys stay for
    /// the next run.
    pub fn new(state: Option<&Path>) -> anyhow::Result<Self> {
        let builder = || {
            let mut builder = tempfile::Builder::new();
            builder.prefix("stream-dev.");
            builder
        };
        let Some(state) = state else {
            let run = builder().tempdir().context("no directory could be made")?;
            return Ok(Self { keys: KeyStore::at(run.path().join("keys"))?, run, kept: false });
        };
        let state = std::path::absolute(state)?;
        create_private_dir(&state).with_context(|| format!("directory {}", state.display()))?;
        let run = builder().tempdir_in(&state).context("no directory could be made")?;
        Ok(Self { keys: KeyStore::at(state.join("keys"))?, run, kept: true })
    }

    pub fn dir(&self) -> &Path {
        self.run.path()
    }

    /// Removes a throwaway directory after what `ended` well; after what failed it stays, for its
    /// logs.
    pub fn end<T>(self, ended: anyhow::Result<T>) -> anyhow::Result<T> {
        if ended.is_err() {
            eprintln!("logs are kept in {}", self.run.keep().display());
        } else if self.kept {
            drop(self.run.keep());
        } else {
            self.run.close().context("the throwaway directory could not be removed")?;
        }
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_throwaway_place_stays_only_after_a_failure() {
        let workdir = Workdir::new(None).expect("a workdir");
        let dir = workdir.dir().to_owned();
        assert!(dir.join("keys").is_dir());
        workdir.end(Ok(())).expect("removed");
        assert!(!dir.exists());

        let workdir = Workdir::new(None).expect("a workdir");
        let dir = workdir.dir().to_owned();
        workdir.end::<()>(Err(anyhow::anyhow!("failed"))).expect_err("handed on");
        assert!(dir.is_dir(), "with its logs");
        std::fs::remove_dir_all(dir).expect("removed");
    }

    #[test]
    fn a_chosen_place_keeps_every_run_and_the_keys_of_all() {
        let state = tempfile::tempdir().expect("a directory");
        let state = state.path().join("state");
        let (first, second) = (Workdir::new(Some(&state)), Workdir::new(Some(&state)));
        let (first, second) = (first.expect("a workdir"), second.expect("another"));
        assert_ne!(first.dir(), second.dir());
        let dir = first.dir().to_owned();
        first.end(Ok(())).expect("kept");
        assert!(dir.is_dir() && state.join("keys").is_dir());
    }
}
