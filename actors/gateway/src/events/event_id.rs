//! The id of an event: how far the store was read when it was sent. Pure. Opaque to clients, and
//! good at every gateway.

use std::fmt;
use std::str::FromStr;

use stream_protocol::Timestamp;

use crate::views::Position;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct EventId {
    /// By the clock of the store.
    pub(super) at: Timestamp,
    pub(super) sessions: Position,
    pub(super) shares: Position,
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, sessions, shares } = self;
        write!(f, "{}-{}-{}", at.as_unix(), sessions.created_at, sessions.revision)?;
        write!(f, "-{}-{}", shares.created_at, shares.revision)
    }
}

impl FromStr for EventId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let numbers: Result<Vec<u64>, _> = text.split('-').map(str::parse).collect();
        let [at, sessions_made, sessions, shares_made, shares] = numbers.map_err(drop)?[..] else {
            return Err(());
        };
        let position = |created_at, revision| Position { created_at, revision };
        Ok(Self {
            at: Timestamp::from_unix(at),
            sessions: position(sessions_made, sessions),
            shares: position(shares_made, shares),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_its_text_and_no_other_text_is_one() {
        let position = |created_at, revision| Position { created_at, revision };
        let id = EventId {
            at: Timestamp::from_unix(1_795_000_000),
            sessions: position(1_700_000_000, 12),
            shares: position(1_700_000_001, 0),
        };
        assert_eq!(id.to_string().parse(), Ok(id));
        for other in ["", "1", "1-2-3-4", "1-2-3-4-5-6", "1-2-3-4-x", "1-2-3-4--5", "é-1-1-1-1"] {
            assert_eq!(other.parse::<EventId>(), Err(()), "{other}");
        }
    }
}
