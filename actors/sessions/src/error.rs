use stream_ams::AmsError;
use stream_bridge::BridgeError;
use stream_protocol::{Cursor, Refusal, RefusalCode, SignalQuota};
use stream_supervisor::AskError;
use stream_tokens::TokensError;
use stream_turn::TurnError;

/// Why a session did not become what was asked.
#[derive(Debug, thiserror::Error)]
pub enum SessionsError {
    /// The session is in no state for it; the sentence says which.
    #[error("{0}")]
    Conflict(String),
    /// The request cannot be carried out as it is.
    #[error("{0}")]
    Malformed(String),
    /// The session has no such peer, or none any more.
    #[error("the session has no such peer: its commands name those that it has")]
    NoPeer,
    /// The session writes more signals than a minute allows.
    #[error("too many signals: at most {} for one session", SignalQuota::limits())]
    TooMany,

    #[error("AMS did not do it")]
    Ams(#[from] AmsError),
    #[error(transparent)]
    Bridge(#[from] BridgeError),
    #[error("tokens are neither minted nor revoked now")]
    Tokens(#[from] TokensError),
    #[error("no TURN credential can be minted")]
    Turn(#[from] TurnError),
    /// This actor gave no answer.
    #[error("sessions cannot be served now: {0}")]
    Unavailable(#[from] AskError),
}

impl SessionsError {
    /// This agent takes no more sessions.
    pub(crate) fn full() -> Self {
        let refusal = Refusal::new(RefusalCode::Busy, "this agent has no free capacity");
        BridgeError::Refused(refusal).into()
    }

    /// This agent hands its sessions over and takes no new ones.
    pub(crate) fn draining() -> Self {
        let refusal = Refusal::new(RefusalCode::Draining, "this agent is draining");
        BridgeError::Refused(refusal).into()
    }

    /// Returns what to tell whoever asked: one sentence for each kind. What is behind it, texts of
    /// AMS among it, goes to the log; it is the cause of a session that failed by it, too.
    pub fn refusal(&self) -> Refusal {
        let sentence = match self {
            Self::Bridge(BridgeError::NotFound) => "session not found",
            Self::Bridge(error) => return error.refusal(),
            Self::Ams(error) => ams_sentence(error),
            Self::Unavailable(AskError::Busy) => "too many requests are queued",
            Self::Unavailable(_) => "sessions cannot be served now",
            Self::Conflict(_)
            | Self::Malformed(_)
            | Self::NoPeer
            | Self::Tokens(_)
            | Self::TooMany
            | Self::Turn(_) => &self.to_string(),
        };
        if let Self::Ams(_) | Self::Tokens(_) | Self::Turn(_) = self {
            log::warn!(error:% = self.sentence(); "a request fails");
        }
        Refusal::new(self.code(), sentence)
    }

    fn code(&self) -> RefusalCode {
        match self {
            // Whoever asked named an application or a version that is not there.
            Self::Bridge(BridgeError::NotFound) | Self::NoPeer | Self::Ams(AmsError::NotFound) => {
                RefusalCode::NotFound
            }
            Self::Bridge(error) => error.refusal().code,
            Self::Conflict(_) => RefusalCode::Conflict,
            Self::Malformed(_) => RefusalCode::Malformed,
            Self::TooMany => RefusalCode::TooMany,
            Self::Unavailable(AskError::Busy) => RefusalCode::Busy,
            Self::Ams(AmsError::Refused { .. } | AmsError::NameTaken(_)) => RefusalCode::Failed,
            Self::Ams(_) | Self::Tokens(_) | Self::Turn(_) | Self::Unavailable(_) => {
                RefusalCode::Unavailable
            }
        }
    }

    /// Whether the same may succeed later without any change.
    pub fn is_transient(&self) -> bool {
        self.code().is_transient()
    }

    /// With [`RefusalCode::HistoryGone`]: where to go on reading.
    pub fn fresh_cursor(&self) -> Option<Cursor> {
        match self {
            Self::Bridge(BridgeError::HistoryGone { fresh }) => Some(*fresh),
            _ => None,
        }
    }

    /// The error and what is behind it, in one line.
    pub(crate) fn sentence(&self) -> String {
        match std::error::Error::source(self) {
            Some(source) => format!("{self}: {source}"),
            None => self.to_string(),
        }
    }
}

fn ams_sentence(error: &AmsError) -> &'static str {
    match error {
        AmsError::Busy(_) => "AMS is busy",
        AmsError::Conflict | AmsError::NameTaken(_) => "the name of the instance is taken",
        AmsError::NotDeleted => "AMS has not deleted the instance",
        AmsError::NotFound => "AMS knows no such application, version or instance",
        AmsError::Refused { .. } => "AMS refused it",
        AmsError::TimedOut => "AMS gave no answer in time",
        AmsError::Malformed(_) => "AMS gave an answer that cannot be read",
        AmsError::Unreachable(_) | AmsError::Config(_) | AmsError::Unavailable(_) => "AMS is away",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_tells_nothing_of_what_ams_or_a_file_said() {
        let text = || "node lxd-7.internal has no room".to_owned();
        for error in [
            SessionsError::Ams(AmsError::Refused { code: 400, text: text() }),
            SessionsError::Ams(AmsError::Unreachable(text())),
            SessionsError::Tokens(TokensError::NotReady(text())),
        ] {
            assert!(!error.refusal().message.contains("lxd-7"), "{error}");
            assert!(error.sentence().contains("lxd-7"), "{error}");
        }
    }
}
