use stream_bridge::SealedError;
use stream_pki::SecretError;
use stream_supervisor::Unavailable;

/// Why there are no ICE servers.
#[derive(Debug, thiserror::Error)]
pub enum TurnError {
    /// The relay secret is not here; says why.
    #[error("the TURN secret is not here: {0}")]
    NotReady(String),
    /// This node has another sealing key than those that share the secret: the program should end.
    #[error("{0}")]
    CannotUnseal(String),
    /// The service cannot start; names the key and the remedy.
    #[error("{0}")]
    Config(String),
    /// The service cannot start; names the file and the remedy.
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("TURN credentials are unavailable")]
    Unavailable(#[from] Unavailable),
}

impl From<&SealedError> for TurnError {
    fn from(trouble: &SealedError) -> Self {
        match trouble {
            SealedError::CannotUnseal { .. } => Self::CannotUnseal(trouble.sentence()),
            _ => Self::NotReady(trouble.sentence()),
        }
    }
}
