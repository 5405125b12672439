use std::io;
use std::path::PathBuf;

/// Why operators cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// Another service answers on the socket.
    #[error("somebody answers on the operator's socket {} already", path.display())]
    InUse { path: PathBuf },
    /// The socket, or its directory, cannot be made or is not closed to others.
    #[error("the operator's socket {} cannot be opened", path.display())]
    Socket { path: PathBuf, source: io::Error },
}
