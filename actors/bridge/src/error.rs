//! Why the bridge refuses, and why it cannot start.

use std::path::PathBuf;

use stream_protocol::{Cursor, Refusal, RefusalCode, error_chain};
use stream_supervisor::AskError;

/// Why the bridge did not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BridgeError {
    /// NATS cannot be reached; the sentence says why.
    #[error("NATS is away: {0}")]
    Disconnected(String),
    /// The record exists already, or has changed since it was read.
    #[error("the record has changed meanwhile")]
    Conflict,
    /// The log does not reach back to the cursor; `fresh` is its end.
    #[error("signals up to this cursor are no longer kept")]
    HistoryGone { fresh: Cursor },
    /// A stored record is not what it should be.
    #[error("a stored record cannot be read: {0}")]
    Malformed(String),
    /// The user that this unit is at NATS does not use the bucket.
    #[error("the bucket {0} is not one of this service")]
    ForeignBucket(&'static str),
    /// There is no such record.
    #[error("there is no such record")]
    NotFound,
    /// NATS is there and does not store what it is given: it has no room, or JetStream is off. The
    /// sentence says why. No waiting helps.
    #[error("NATS does not store it: {0}")]
    StoreRefused(String),
    /// Nobody serves the subject.
    #[error("nobody answers to this request")]
    NoResponder,
    /// The other side said no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// NATS or the other side gave no answer in time; it may have acted all the same.
    #[error("no answer in time")]
    TimedOut,
    /// This actor gave no answer.
    #[error("the NATS bridge gave no answer: {0}")]
    Unavailable(#[from] AskError),
}

impl BridgeError {
    /// Takes what the client says of a connection or a server that does not serve.
    pub(crate) fn disconnected(error: impl std::error::Error) -> Self {
        Self::Disconnected(error_chain(&error))
    }

    /// Returns what to tell whoever asked for something that needed NATS: one sentence for each
    /// kind. What is behind it names hosts and records, and goes to the log.
    pub fn refusal(&self) -> Refusal {
        if let Self::ForeignBucket(_) | Self::Malformed(_) | Self::StoreRefused(_) = self {
            log::warn!(error:% = self; "a request fails");
        } else {
            log::debug!(error:% = self; "a request fails");
        }
        let sentence = match self {
            Self::Refused(refusal) => return refusal.clone(),
            Self::Disconnected(_) => "NATS is away",
            Self::ForeignBucket(_) | Self::Malformed(_) => "a stored record cannot be read",
            Self::StoreRefused(_) => "NATS does not store it",
            Self::Unavailable(AskError::Busy) => "too many requests are queued",
            Self::Unavailable(_) => "a part of this unit gave no answer",
            Self::Conflict
            | Self::HistoryGone { .. }
            | Self::NoResponder
            | Self::NotFound
            | Self::TimedOut => &self.to_string(),
        };
        Refusal::new(self.code(), sentence)
    }

    fn code(&self) -> RefusalCode {
        match self {
            Self::Refused(refusal) => refusal.code,
            Self::Unavailable(AskError::Busy) => RefusalCode::Busy,
            Self::Disconnected(_)
            | Self::NoResponder
            | Self::StoreRefused(_)
            | Self::TimedOut
            | Self::Unavailable(_) => RefusalCode::Unavailable,
            Self::Conflict => RefusalCode::Conflict,
            Self::HistoryGone { .. } => RefusalCode::HistoryGone,
            Self::ForeignBucket(_) | Self::Malformed(_) => RefusalCode::Failed,
            Self::NotFound => RefusalCode::NotFound,
        }
    }

    /// Whether the same may succeed later without any change.
    pub fn is_transient(&self) -> bool {
        !matches!(self, Self::StoreRefused(_)) && self.code().is_transient()
    }
}

impl From<BridgeError> for Refusal {
    fn from(error: BridgeError) -> Self {
        error.refusal()
    }
}

/// The configuration cannot work; each text names the key and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("nats.servers is empty: name at least one, as tls://host:port")]
    NoServers,
    #[error("nats.servers: {0} is not of the form tls://host:port")]
    NotTls(String),
    #[error("nats.token, nats.credentials and nats.nkey exclude each other: keep one")]
    TwoLogins,
    #[error("nats.certificate and nats.key belong together: set both or none")]
    HalfCertificate,
    #[error("nats.credentials: {path} cannot be read")]
    Credentials { path: PathBuf, source: std::io::Error },
    #[error("nats.nkey")]
    Nkey(#[source] stream_pki::SecretError),
    #[error("nats.nkey: {path} does not hold the seed of a user: it begins with SU")]
    NotASeed { path: PathBuf },
    #[error("nats.token")]
    Token(#[source] stream_pki::SecretError),
    #[error("nats.ca, nats.certificate or nats.key")]
    Tls(#[source] stream_pki::PkiError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_tells_nothing_of_what_is_behind_it() {
        let secret = || "nats-1.internal:4222".to_owned();
        for error in [
            BridgeError::Disconnected(secret()),
            BridgeError::Malformed(secret()),
            BridgeError::StoreRefused(secret()),
        ] {
            let told = error.refusal().message;
            assert!(!told.contains("internal") && error.to_string().contains(&told), "{told}");
        }
    }
}
