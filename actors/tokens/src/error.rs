use stream_bridge::{BridgeError, SealedError};
use stream_pki::SecretError;
use stream_supervisor::AskError;

/// Why there is no token, or why it does not open the door.
#[derive(Debug, thiserror::Error)]
pub enum TokensError {
    /// The bearer shows no valid token: malformed, badly signed, expired, from elsewhere. Which of
    /// them is not for the bearer to know.
    #[error("the token is not valid")]
    Invalid,
    /// The token is valid, but not for this operation or this session.
    #[error("the token does not allow this")]
    Forbidden,

    /// The caller asked for a token that there cannot be.
    #[error("no such token: {0}")]
    Unmintable(&'static str),

    /// The operator asked for what cannot be; says why.
    #[error("{0}")]
    Refused(String),

    /// The root keys, or what is revoked, are not known or were read too long ago; says why.
    #[error("the token authority is not ready: {0}")]
    NotReady(String),
    /// This node has another sealing key than those that share the keys; the program should end.
    #[error("{0}")]
    CannotUnseal(String),
    /// The service cannot start.
    #[error(transparent)]
    Config(#[from] SecretError),
    #[error("the token authority is unavailable")]
    Unavailable(#[from] AskError),
}

impl From<&SealedError> for TokensError {
    fn from(error: &SealedError) -> Self {
        match error {
            SealedError::CannotUnseal { .. } => Self::CannotUnseal(error.sentence()),
            _ => Self::NotReady(error.sentence()),
        }
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
    fn only_the_wrong_sealing_key_is_told_apart() {
        let wrong_key = SealedError::CannotUnseal { name: "agent.root".into() };
        let error = TokensError::from(&wrong_key);
        assert!(matches!(error, TokensError::CannotUnseal(_)), "{error}");
        assert!(error.to_string().contains("agent.root"), "{error}");

        let away = SealedError::from(BridgeError::Disconnected("connection refused".into()));
        let error = TokensError::from(&away);
        assert!(matches!(error, TokensError::NotReady(_)), "{error}");
        assert!(error.to_string().ends_with("connection refused"), "{error}");
    }
}
