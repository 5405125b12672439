use std::io;
use std::path::PathBuf;

/// Why operators cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    #[error("somebody answers on the operator's socket {} already", path.display())]
    InUse { path: PathBuf },
    #[error("the operator's socket {} cannot be opened", path.display())]
    Socket { path: PathBuf, source: io::Error },
}
