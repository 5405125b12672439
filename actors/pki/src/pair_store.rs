//! Pairs of a certificate and its key that are replaced as one.
//!
//! ```text
//! server.crt -> state/server/present/certificate.pem      what the configuration names
//! server.key -> state/server/present/key.pem
//! state/server/present -> 1f0c…                           the one thing that is replaced
//! state/server/next    -> 93ab…
//! state/server/1f0c…/{certificate,key}.pem
//! ```
//!
//! No file ever changes: a new pair is written beside the old one, and a link that leads to both
//! halves is replaced at once. So neither a reader nor a crash finds the key of another
//! certificate.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::error::PkiError;
use crate::files::{create_private_dir, write_new};
use crate::generate::KeyPairPem;
use crate::identity::Identity;
use crate::random::random_text;

const CERTIFICATE: &str = "certificate.pem";
const KEY: &str = "key.pem";
const PUBLIC: u32 = 0o644;
const SECRET: u32 = 0o600;

/// Which of the two pairs of a store.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PairSlot {
    Present,
    /// The one that will replace it, for those to know who pin certificates.
    Next,
}

impl PairSlot {
    fn name(self) -> &'static str {
        match self {
            Self::Present => "present",
            Self::Next => "next",
        }
    }
}

/// A directory with the present pair and the next one.
#[derive(Clone, Debug)]
pub struct PairStore(PathBuf);

impl PairStore {
    /// The store in `dir`, which is made with the first pair.
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self(dir.into())
    }

    /// Returns the store that the file `certificate` leads into as its present pair; `None` for a
    /// plain file, which somebody else replaces.
    pub fn behind(certificate: &Path) -> Option<Self> {
        let target = fs::read_link(certificate).ok()?;
        let target = certificate.parent().unwrap_or(Path::new("")).join(target);
        let slot = target.parent()?;
        let is_present = slot.file_name() == Some(OsStr::new(PairSlot::Present.name()));
        let store = slot.parent().filter(|_| is_present && slot.is_symlink());
        store.map(|dir| Self(dir.to_owned()))
    }

    pub fn certificate(&self, slot: PairSlot) -> PathBuf {
        self.0.join(slot.name()).join(CERTIFICATE)
    }

    pub fn key(&self, slot: PairSlot) -> PathBuf {
        self.0.join(slot.name()).join(KEY)
    }

    /// Reads one of the pairs; `None` when there is none. A next pair that is the present one by
    /// now is none.
    ///
    /// # Errors
    ///
    /// Those of [`Identity::load`].
    pub fn load(&self, slot: PairSlot) -> Result<Option<Identity>, PkiError> {
        if self.target(slot).is_none() {
            return Ok(None);
        }
        if slot == PairSlot::Next && self.target(slot) == self.target(PairSlot::Present) {
            return Ok(None);
        }
        Identity::load(self.certificate(slot), self.key(slot)).map(Some)
    }

    /// Puts `pair` into `slot`, whole and on disk, or changes nothing.
    ///
    /// # Errors
    ///
    /// The halves do not belong together, or cannot be written.
    pub fn store(&self, slot: PairSlot, pair: &KeyPairPem) -> Result<(), PkiError> {
        let identity = Identity::from_pem(pair.certificate.as_bytes(), pair.key.as_bytes())?;
        let name = identity.fingerprint().to_string();
        let dir = self.0.join(&name);
        let written = || {
            create_private_dir(&self.0)?;
            self.prune(&name)?;
            create_private_dir(&dir)?;
            write_once(&dir.join(KEY), pair.key.as_bytes(), SECRET)?;
            write_once(&dir.join(CERTIFICATE), pair.certificate.as_bytes(), PUBLIC)?;
            replace_link(Path::new(&name), &self.0.join(slot.name()))
        };
        written().map_err(|source| self.unwritable(source))
    }

    /// Has the next pair be the present one. Returns whether there was one.
    ///
    /// # Errors
    ///
    /// Its halves do not belong together, or the link cannot be replaced.
    pub fn promote(&self) -> Result<bool, PkiError> {
        if self.load(PairSlot::Next)?.is_none() {
            return Ok(false);
        }
        let Some(next) = self.target(PairSlot::Next) else { return Ok(false) };
        let replaced = replace_link(&next, &self.0.join(PairSlot::Present.name()));
        replaced.map(|()| true).map_err(|source| self.unwritable(source))
    }

    /// Has the files `certificate` and `key` lead to the pair in `slot`, in place of what they
    /// hold. Where that is the same pair, nobody who reads them notices.
    ///
    /// # Errors
    ///
    /// The links cannot be made.
    pub fn link(&self, slot: PairSlot, certificate: &Path, key: &Path) -> Result<(), PkiError> {
        for (file, target) in [(key, self.key(slot)), (certificate, self.certificate(slot))] {
            let parent = file.parent().unwrap_or(Path::new(""));
            // A directory that is moved, or seen from elsewhere, stays whole.
            let target = target.strip_prefix(parent).map_or(target.clone(), Path::to_owned);
            replace_link(&target, file).map_err(|source| PkiError::Unwritable {
                origin: file.display().to_string(),
                source,
            })?;
        }
        Ok(())
    }

    fn target(&self, slot: PairSlot) -> Option<PathBuf> {
        fs::read_link(self.0.join(slot.name())).ok()
    }

    /// Removes the pairs that nothing leads to. The one that was replaced last is still there while
    /// somebody may have read half of it.
    fn prune(&self, besides: &str) -> io::Result<()> {
        let kept = [self.target(PairSlot::Present), self.target(PairSlot::Next)];
        for entry in fs::read_dir(&self.0)? {
            let entry = entry?;
            let name = PathBuf::from(entry.file_name());
            let is_kept =
                name.as_os_str() == besides || kept.iter().flatten().any(|at| *at == name);
            if entry.file_type()?.is_dir() && !is_kept {
                fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(())
    }

    fn unwritable(&self, source: io::Error) -> PkiError {
        PkiError::Unwritable { origin: self.0.display().to_string(), source }
    }
}

/// Writes a file of a pair; one that is there, by an attempt that did not come to its end, has the
/// same text or is made anew.
fn write_once(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    match write_new(path, bytes, mode) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => match fs::read(path)? == bytes {
            true => Ok(()),
            false => {
                fs::remove_file(path)?;
                write_new(path, bytes, mode)
            }
        },
        written => written,
    }
}

/// Has `link` lead to `target`, whatever it was before: at every moment there is one or the other.
fn replace_link(target: &Path, link: &Path) -> io::Result<()> {
    let name = link.file_name().ok_or_else(|| io::Error::from(ErrorKind::InvalidInput))?;
    let hidden = format!(".{}.{}", name.to_string_lossy(), random_text(12).as_str());
    let temporary = link.with_file_name(hidden);
    symlink(target, &temporary)?;
    if let Err(error) = fs::rename(&temporary, link) {
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    let parent = link.parent().filter(|parent| *parent != Path::new(""));
    fs::File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}
