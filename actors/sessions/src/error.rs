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

    /// Returns what to tell whoever asked.
    pub fn refusal(&self) -> Refusal {
        let code = match self {
            Self::Bridge(BridgeError::NotFound) => {
                return Refusal::new(RefusalCode::NotFound, "session not found");
            }
            Self::Bridge(error) => return error.refusal(),
            Self::Conflict(_) => RefusalCode::Conflict,
            Self::Malformed(_) => RefusalCode::Malformed,
            Self::TooMany => RefusalCode::TooMany,
            Self::Unavailable(AskError::Busy) => RefusalCode::Busy,
            Self::Ams(AmsError::Refused { .. } | AmsError::NotFound) => RefusalCode::Failed,
            Self::Ams(_) | Self::Tokens(_) | Self::Turn(_) | Self::Unavailable(_) => {
                RefusalCode::Unavailable
            }
        };
        Refusal::new(code, self.sentence())
    }

    /// Whether the same may succeed later without any change.
    pub fn is_transient(&self) -> bool {
        self.refusal().code.is_transient()
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
