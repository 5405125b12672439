//! Renewal: client and instance of a live session get new TURN credentials before theirs end, and
//! when the relay between them is lost.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use stream_protocol::{
    AgentId, DesiredState, IceServer, SessionDocument, SessionId, Status, Timestamp,
};
use stream_turn::Peer;

use crate::SessionsError;
use crate::context::AgentContext;
use crate::session_cache::SessionCache;
use crate::transition::InvalidTransition;

/// How often the life of a credential is looked at.
const CHECKS_PER_LIFETIME: u32 = 60;

/// The bounds of the pause between two looks.
const MIN_CHECK_PAUSE: Duration = Duration::from_millis(250);
const MAX_CHECK_PAUSE: Duration = Duration::from_secs(30);

/// A renewal that is asked for so soon after the last one is still under way, seconds.
const DEBOUNCE_S: u64 = 2;

/// Mints ICE servers for one peer of a session that is not over.
pub(crate) async fn issue_ice(
    context: &AgentContext,
    document: &SessionDocument,
    peer: Peer,
) -> Result<Vec<IceServer>, SessionsError> {
    if document.is_over() {
        return Err(SessionsError::Conflict(format!("session is {}", document.status)));
    }
    let region = region(document, &context.config.region);
    Ok(context.deps.turn.issue(&document.id, peer, region).await?)
}

/// Renews the credentials of a session at once, for an instance that has lost its client.
pub(crate) async fn renew_now(context: &AgentContext, id: &SessionId) -> Result<(), SessionsError> {
    let renewed = context.change(id, |document| {
        if document.status.is_final() {
            return Err(InvalidTransition(format!("session is {}", document.status)));
        }
        if context.now() >= document.ice_renewed_at.plus_secs(DEBOUNCE_S) {
            renew(document, context.now());
        }
        Ok(())
    });
    renewed.await.map(drop)
}

/// Renews the credentials of all live sessions of this agent in time.
pub(crate) struct IceRenewal {
    pub(crate) context: Arc<AgentContext>,
    pub(crate) cache: Rc<SessionCache>,
}

impl IceRenewal {
    /// Renews what is due, again and again. Returns at once when no relay is configured.
    pub(crate) async fn run(&self) {
        let Some(lifetime) = self.context.deps.turn.lifetime() else { return };
        let pause = (lifetime / CHECKS_PER_LIFETIME).clamp(MIN_CHECK_PAUSE, MAX_CHECK_PAUSE);
        loop {
            tokio::time::sleep(pause).await;
            if let Err(error) = self.renew_due(lifetime.as_secs()).await {
                log::debug!(error:%; "no look at the life of credentials");
            }
        }
    }

    async fn renew_due(&self, lifetime_s: u64) -> Result<(), SessionsError> {
        let agent = self.context.agent();
        for document in self.cache.live_and_kept(&self.context.deps.bridge).await? {
            if !is_due(&document, agent, lifetime_s, self.context.now()) {
                continue;
            }
            let id = &document.id;
            let renewed = self.context.change(id, |document| {
                if is_due(document, agent, lifetime_s, self.context.now()) {
                    renew(document, self.context.now());
                }
                Ok(())
            });
            match renewed.await {
                Ok(_) => log::debug!(session:% = id; "a session gets new TURN credentials"),
                // One session that cannot be helped now must not keep the others waiting.
                Err(error) => {
                    log::warn!(session:% = id, error:%; "a session gets new TURN credentials later")
                }
            }
        }
        Ok(())
    }
}

/// The region of a session: the one it was asked for in, whoever serves it now, otherwise that of
/// its agent.
fn region<'a>(document: &'a SessionDocument, agent: &'a str) -> &'a str {
    match document.request.region.as_str() {
        "" => agent,
        asked => asked,
    }
}

/// Whether two thirds of the life of the oldest credentials of a live session of ours are over.
fn is_due(document: &SessionDocument, agent: &AgentId, lifetime_s: u64, now: Timestamp) -> bool {
    let mine = document.owner.as_ref() == Some(agent);
    let live = matches!(document.status, Status::Created | Status::Active)
        && document.desired.state == DesiredState::Running
        && document.desired.client.is_some();
    // None was made before the session; one made since, for a client that joined, ends later.
    let made = document.created_at.max(document.ice_renewed_at);
    mine && live && now >= made.plus_secs(lifetime_s.saturating_mul(2) / 3)
}

fn renew(document: &mut SessionDocument, now: Timestamp) {
    document.ice_renewal += 1;
    document.ice_renewed_at = now;
}

#[cfg(test)]
mod tests {
    use stream_protocol::Commands;

    use super::*;

    fn live() -> SessionDocument {
        let owner = agent("a");
        SessionDocument {
            owner: Some(owner),
            status: Status::Active,
            created_at: 1000.into(),
            ..SessionDocument::sample()
        }
    }

    fn agent(name: &str) -> AgentId {
        name.parse().unwrap()
    }

    #[test]
    fn a_session_keeps_the_region_it_was_asked_for_in() {
        let mut document = live();
        assert_eq!(region(&document, "eu"), "eu", "anywhere is where its agent is");
        document.request.region = "us".to_owned();
        assert_eq!(region(&document, "eu"), "us", "adopted by an agent elsewhere");
    }

    #[test]
    fn credentials_are_renewed_after_two_thirds_of_their_life_each_time() {
        let (mut document, me) = (live(), agent("a"));
        assert!(!is_due(&document, &me, 20, 1012.into()));
        assert!(is_due(&document, &me, 20, 1013.into()));
        renew(&mut document, 1014.into());
        assert_eq!(Commands::of(&document, 7).ice_renewal, 1);
        assert!(!is_due(&document, &me, 20, 1026.into()));
        assert!(is_due(&document, &me, 20, 1027.into()));
    }

    #[test]
    fn only_the_owner_renews_and_only_what_lives_and_is_watched() {
        assert!(!is_due(&live(), &agent("b"), 20, 2000.into()), "of another agent");
        let mut ending = live();
        ending.desired.state = DesiredState::Terminated;
        let unwatched = SessionDocument {
            desired: stream_protocol::Desired { client: None, ..live().desired },
            ..live()
        };
        let ended = SessionDocument { status: Status::Terminated, ..live() };
        for document in [ending, unwatched, ended] {
            assert!(!is_due(&document, &agent("a"), 20, 2000.into()), "{document:?}");
        }
    }
}
