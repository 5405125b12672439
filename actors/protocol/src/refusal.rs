use serde::{Deserialize, Serialize};

/// Why a request was refused, as far as the asker acts on it; the manual has a
/// [table](crate::manual::wire#envelope-and-refusals).
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalCode {
    /// Too much is queued here; the same request may succeed in a moment.
    Busy,
    /// The state of the session does not allow it.
    Conflict,
    /// This unit takes no new sessions.
    Draining,
    /// A part of this unit failed while it held the request.
    Failed,
    /// The session's signals up to the given cursor are no longer kept.
    HistoryGone,
    /// The request is not what the endpoint takes.
    Malformed,
    /// No such session, or none that the asker may see.
    NotFound,
    /// The body is larger than the endpoint takes.
    TooLarge,
    /// The limit of writes or requests is used up for now.
    TooMany,
    /// Something that this unit depends on is away; the message names it.
    Unavailable,
    /// The payload is written in a newer major version.
    UnknownVersion,
}

impl RefusalCode {
    /// Returns the HTTP status that says the same.
    pub fn http_status(self) -> u16 {
        match self {
            Self::Conflict | Self::Malformed | Self::UnknownVersion => 400,
            Self::NotFound => 404,
            Self::HistoryGone => 409,
            Self::TooLarge => 413,
            Self::TooMany => 429,
            Self::Failed => 500,
            Self::Busy | Self::Draining | Self::Unavailable => 503,
        }
    }

    /// Returns whether the same request may succeed later without any change.
    pub fn is_transient(self) -> bool {
        matches!(self, Self::Busy | Self::Draining | Self::TooMany | Self::Unavailable)
    }
}

/// A refusal: a code that the asker acts on, and a sentence for people.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    pub code: RefusalCode,
    pub message: String,
}

impl Refusal {
    pub fn new(code: RefusalCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}
