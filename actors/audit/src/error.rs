//! Why there is no audit log.

use std::io;
use std::path::PathBuf;

use stream_pki::SecretError;

/// Why an audit log cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    #[error(
        "audit.file: {} cannot be written: make its directory and give it to the user of the \
         service", path.display()
    )]
    Unwritable { path: PathBuf, source: io::Error },
    #[error("audit.file: {} is written by another process: give each unit its own", .0.display())]
    InUse(PathBuf),
    #[error("audit.file names no file")]
    NoFile,
    #[error("audit.max_mib is at least 1")]
    TooSmall,
    #[error(transparent)]
    Key(#[from] SecretError),
    #[error("the audit log cannot be written: no thread can be started")]
    Thread(#[source] io::Error),
    #[error("{} cannot be read", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
}
