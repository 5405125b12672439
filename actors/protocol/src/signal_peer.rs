//! Whose signals they are.

use std::fmt;

use crate::{SessionId, ShareId};

/// The other end of an instance's signals: the client of its session, or who uses its ADB through a
/// share. Each has subjects and generations of its own.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct SignalPeer {
    pub session: SessionId,
    /// The share of a peer that uses ADB; none for the client.
    pub share: Option<ShareId>,
}

impl SignalPeer {
    /// Returns the peer that uses the ADB of `session` through `share`.
    pub fn adb(session: &SessionId, share: &ShareId) -> Self {
        Self { session: session.clone(), share: Some(share.clone()) }
    }
}

impl From<&SessionId> for SignalPeer {
    /// The client of a session.
    fn from(session: &SessionId) -> Self {
        Self { session: session.clone(), share: None }
    }
}

impl From<&SignalPeer> for SignalPeer {
    fn from(peer: &SignalPeer) -> Self {
        peer.clone()
    }
}

/// Writes the peer as it stands in a subject: one word, which no session is named by if it is not
/// the client's.
impl fmt::Display for SignalPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.share {
            Some(share) => write!(f, "{}-{share}", self.session),
            None => self.session.fmt(f),
        }
    }
}
