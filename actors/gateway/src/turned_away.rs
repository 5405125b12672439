//! Who was turned away from a session or waits for it, and why, as its timeline tells.

use std::collections::HashMap;
use std::fmt;

use parking_lot::Mutex;
use stream_bridge::Bridge;
use stream_protocol::{Hop, RefusalCode, SessionId, TimelineEntry};
use stream_tokens::{Lapse, Tokens, TokensError};

use crate::response::HttpError;
use crate::views::Views;

/// How many causes are counted at a time; with one more, all counts begin anew.
const MAX_CAUSES: usize = 1_000;

/// Counts refusals by session and cause. The 1st, 2nd, 4th, 8th … of them are told: whoever tries
/// again and again pushes nothing else out of the timeline.
#[derive(Default)]
pub(crate) struct TurnedAway(Mutex<HashMap<(SessionId, String), u64>>);

impl TurnedAway {
    /// Notes that `who` was turned away from `session` with `cause`, or waits for it where that is
    /// all there is to do. Of a session that is not there nothing is told: anybody could name any.
    pub(crate) fn note(
        &self,
        bridge: &Bridge,
        session: &SessionId,
        (who, cause): (impl fmt::Display, &HttpError),
    ) {
        if matches!(cause, HttpError::Refused(refusal) if refusal.code == RefusalCode::NotFound) {
            return;
        }
        self.tell(bridge, session, step(who, cause));
    }

    /// Notes that somebody with `token` was turned away, if this service has made it and it opens
    /// `session` no more or never did: whoever makes one up leaves no trace, and neither does one
    /// that is taken for a session that is not there.
    pub(crate) async fn note_token(
        &self,
        (views, tokens): (&Views, &Tokens),
        session: &SessionId,
        (token, error): (&str, &TokensError),
    ) {
        let why = match (error, tokens.lapse(token)) {
            (TokensError::Invalid, Some(Lapse::Expired)) => "its token has expired",
            (TokensError::Invalid, Some(Lapse::Revoked)) => "its token is revoked",
            (TokensError::Forbidden, _) => "its token is of another session or another kind",
            _ => return,
        };
        if matches!(views.session(session).await, Ok(Some(_))) {
            let text = format!("a client was turned away: {why}");
            self.tell(views.bridge(), session, (Hop::Refusal, text));
        }
    }

    fn tell(&self, bridge: &Bridge, session: &SessionId, (hop, text): (Hop, String)) {
        let count = self.count(session, &text);
        if count.is_power_of_two() {
            let entry = TimelineEntry { count, ..TimelineEntry::new(hop, text) };
            bridge.tell_timeline(session, vec![entry]);
        }
    }

    fn count(&self, session: &SessionId, text: &str) -> u64 {
        let mut counts = self.0.lock();
        let key = (session.clone(), text.to_owned());
        if counts.len() >= MAX_CAUSES && !counts.contains_key(&key) {
            counts.clear();
        }
        let count = counts.entry(key).or_default();
        *count += 1;
        *count
    }
}

/// Returns what `cause` makes of `who`: one that may come again soon waits.
fn step(who: impl fmt::Display, cause: &HttpError) -> (Hop, String) {
    match cause {
        HttpError::Conflict { retry_after_s: Some(_), .. } => {
            (Hop::Wait, format!("{who} waits: {cause}"))
        }
        _ => (Hop::Refusal, format!("{who} was turned away: {cause}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_come_again_soon_waits_and_is_not_turned_away() {
        let conflict = |retry_after_s| HttpError::Conflict {
            text: "it has one".to_owned(),
            retry_after_s,
            metadata: None,
        };
        let waits = (Hop::Wait, "share s waits: it has one".to_owned());
        assert_eq!(step("share s", &conflict(Some(5))), waits);
        let refused = (Hop::Refusal, "share s was turned away: it has one".to_owned());
        assert_eq!(step("share s", &conflict(None)), refused);
    }

    #[test]
    fn causes_are_counted_apart_and_their_number_is_bounded() {
        let (turned_away, session) = (TurnedAway::default(), SessionId::random());
        assert_eq!([1, 2, 3].map(|_| turned_away.count(&session, "full")), [1, 2, 3]);
        assert_eq!(turned_away.count(&SessionId::random(), "full"), 1);
        for n in 0..2 * MAX_CAUSES {
            turned_away.count(&session, &n.to_string());
        }
        assert!(turned_away.0.lock().len() <= MAX_CAUSES);
    }
}
