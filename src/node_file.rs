//! The files that `init` and `pki` make, each whole or not at all.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;
use stream_pki::write_new;

/// Secrets are only for the service itself.
pub(crate) const SECRET: u32 = 0o600;
pub(crate) const PUBLIC: u32 = 0o644;

/// One file of a node, and whether this run made it.
#[derive(Debug)]
pub struct File {
    pub path: PathBuf,
    pub what: &'static str,
    pub made: bool,
}

/// Writes a file unless it is there.
pub(crate) fn write(
    path: PathBuf,
    what: &'static str,
    bytes: &[u8],
    mode: u32,
) -> anyhow::Result<File> {
    match write_new(&path, bytes, mode) {
        Ok(()) => Ok(File { path, what, made: true }),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Ok(File { path, what, made: false })
        }
        Err(error) => Err(error).with_context(|| format!("file {}", path.display())),
    }
}

/// Returns whether a pair is there. A certificate and its key belong together: one without the
/// other is an error, not a repair.
///
/// # Errors
///
/// Half of the pair is there.
pub(crate) fn is_pair_there(public: &Path, private: &Path) -> anyhow::Result<bool> {
    let (has_public, has_private) = (public.exists(), private.exists());
    if has_public != has_private {
        let (there, missing) = if has_public { (public, private) } else { (private, public) };
        anyhow::bail!(
            "{} exists without {}: remove it to have both made anew, or put the other back",
            there.display(),
            missing.display()
        );
    }
    Ok(has_public)
}
