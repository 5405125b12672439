use stream_bridge::{BridgeError, SealedError};
use stream_pki::SecretError;
use stream_supervisor::AskError;

/// Why there is no token, or why a token does not open what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum TokensError {
    /// The bearer has no valid token: it is malformed, badly signed, expired, revoked, or of
    /// another service. The bearer never learns which.
    #[error("the token is not valid")]
    Invalid,
    /// The token is valid, but not for this operation or this session.
    #[error("the token does not allow this")]
    Forbidden,

    /// The caller asked for a token that there cannot be; says why.
    #[error("no such token: {0}")]
    Unmintable(&'static str),

    /// An operator asked for what does not fit the keys or tokens; says why.
    #[error("{0}")]
    Refused(String),

    /// The root keys or the revocations are unknown, or were read too long ago; says why. A wrong
    /// sealing key is among the reasons, and the only one that no waiting helps.
    #[error("the token authority is not ready: {0}")]
    NotReady(String),
    /// The service cannot start.
    #[error(transparent)]
    Config(#[from] SecretError),
    #[error("the token authority is unavailable")]
    Unavailable(#[from] AskError),
}

impl From<&SealedError> for TokensError {
    fn from(error: &SealedError) -> Self {
        Self::NotReady(error.sentence())
    }
}

impl From<SealedError> for TokensError {
    fn from(error: SealedError) -> Self {
        (&error).into()
    }
}

impl From<BridgeError> for TokensError {
    fn from(error: BridgeError) -> Self {
        Self::NotReady(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_is_in_the_sentence() {
        let wrong_key = SealedError::CannotUnseal { name: "agent.root".into() };
        let error = TokensError::from(&wrong_key).to_string();
        assert!(error.contains("agent.root") && error.contains("copy the sealing key"), "{error}");

        let away = SealedError::from(BridgeError::Disconnected("connection refused".into()));
        let error = TokensError::from(&away).to_string();
        assert!(error.ends_with("connection refused"), "{error}");
    }
}
