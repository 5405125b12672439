//! The record of a share. Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use stream_protocol::{Maker, Role, SessionId, ShareId, Timestamp};

use crate::session_summary::SessionSummary;

/// How much longer than the share its record stays: clocks differ.
const CLOCK_SKEW: Duration = Duration::from_secs(60);

/// The record of a share.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Share {
    pub(crate) id: ShareId,
    pub(crate) session_id: SessionId,
    /// The role in which its link joins, or `adb`.
    pub(crate) role: Role,
    pub(crate) description: String,
    pub(crate) created_at: Timestamp,
    pub(crate) expiry_at: Timestamp,
    pub(crate) token_id: String,
    /// The account that made it; `None` for an operator.
    #[serde(default)]
    pub(crate) made_by: Option<Maker>,
}

impl Share {
    pub(crate) fn is_over(&self, now: Timestamp) -> bool {
        now >= self.expiry_at
    }

    /// Whether the share opens `session`, which is running. A session that begins later under the
    /// same id is another one.
    pub(crate) fn is_of(&self, session: &SessionSummary) -> bool {
        let began_before = session.created_at <= self.created_at;
        self.session_id == session.id && session.is_running && began_before
    }

    /// Whether the share opens ADB, and not a place as the client.
    pub(crate) fn is_adb(&self) -> bool {
        self.role == Role::Adb
    }

    /// Returns how long the record is to stay from `now` on.
    pub(crate) fn ttl(&self, now: Timestamp) -> Duration {
        (self.expiry_at - now) + CLOCK_SKEW
    }
}

#[cfg(test)]
mod tests {
    use stream_protocol::{DesiredState, SessionDocument, Status};

    use super::*;

    fn document() -> SessionDocument {
        SessionDocument::sample()
    }

    fn share(document: &SessionDocument) -> Share {
        Share {
            id: ShareId::random(),
            session_id: document.id.clone(),
            role: Role::View,
            description: String::new(),
            created_at: 100.into(),
            expiry_at: 200.into(),
            token_id: "0123456789abcdef".into(),
            made_by: None,
        }
    }

    #[test]
    fn a_share_is_of_its_own_live_session_and_of_none_that_begins_later() {
        let document = document();
        let share = share(&document);
        let is_of = |document: SessionDocument| share.is_of(&SessionSummary::of(document));
        assert!(is_of(document.clone()));
        assert!(!is_of(self::document()), "another session");
        let later = SessionDocument { created_at: 101.into(), ..document.clone() };
        let ended = SessionDocument { status: Status::Terminated, ..document.clone() };
        let mut ending = document;
        ending.desired.state = DesiredState::Terminated;
        for other in [later, ended, ending] {
            assert!(!is_of(other.clone()), "{other:?}");
        }
    }

    #[test]
    fn a_share_ends_to_the_second_and_its_record_stays_a_little_longer() {
        let share = share(&document());
        assert!(!share.is_over(199.into()) && share.is_over(200.into()));
        assert_eq!(share.ttl(150.into()), Duration::from_secs(110));
        assert_eq!(share.ttl(999.into()), Duration::from_secs(60));
    }
}
