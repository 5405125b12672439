use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why the gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    #[error("somebody answers on the operator's socket {} already", path.display())]
    AdminInUse { path: PathBuf },
    #[error("the operator's socket {} cannot be opened", path.display())]
    AdminSocket { path: PathBuf, source: io::Error },
    #[error("cannot listen on {address}")]
    Bind { address: SocketAddr, source: io::Error },
    #[error("{0}")]
    Config(String),
}
