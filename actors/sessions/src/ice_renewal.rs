//! Renewal: client and instance of a live session get new TURN credentials before theirs end, when
//! the relay between them is lost, and when other relays are handed out.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use stream_protocol::{
    AgentId, DesiredState, Hop, IceServer, IceTerms, SessionDocument, SessionId, Status,
    TimelineEntry, Timestamp,
};
use stream_turn::Peer;
use tokio::time::timeout;

use crate::SessionsError;
use crate::context::AgentContext;
use crate::session_cache::SessionCache;
use crate::transition::InvalidTransition;

/// How often the life of a credential is looked at.
const CHECKS_PER_LIFETIME: u32 = 60;

/// The bounds of the pause between two looks.
const MIN_CHECK_PAUSE: Duration = Duration::from_millis(250);
const MAX_CHECK_PAUSE: Duration = Duration::from_secs(30);

/// The grain of the times in a document.
const ONE_SECOND: Duration = Duration::from_secs(1);

/// A renewal that is asked for so soon after the last one is still under way, seconds.
const DEBOUNCE_S: u64 = 2;

/// Mints ICE servers for one peer of a session that is not over, on its `terms`.
pub(crate) async fn issue_ice(
    context: &AgentContext,
    document: &SessionDocument,
    peer: Peer,
    terms: IceTerms,
) -> Result<Vec<IceServer>, SessionsError> {
    if document.is_over() {
        return Err(SessionsError::Conflict(format!("session is {}", document.status)));
    }
    let region = region(document, &context.config.region);
    let servers = context.deps.turn.issue_on(terms, &document.id, peer, region).await?;
    if let Some(until) = servers.iter().filter_map(expiry).min() {
        let relays = context.deps.turn.relays().await.err().map(|error| error.to_string());
        let entry = credential_entry(document.generation, peer, until, relays);
        context.deps.bridge.tell_timeline(&document.id, vec![entry]);
    }
    Ok(servers)
}

/// Returns when the credential of a relay ends, which its user name begins with.
fn expiry(server: &IceServer) -> Option<Timestamp> {
    let (expiry, _) = server.username.as_ref()?.split_once(':')?;
    Some(Timestamp::from_unix(expiry.parse().ok()?))
}

/// What the timeline tells of credentials: whose they are, never what they are. `complaint` is what
/// the probes of the relays say.
fn credential_entry(
    generation: u64,
    peer: Peer,
    until: Timestamp,
    complaint: Option<String>,
) -> TimelineEntry {
    let whose = match peer {
        Peer::Client => format!("client {generation} has"),
        Peer::Instance => "the instance has".to_owned(),
    };
    let complaint = complaint.map_or_else(String::new, |complaint| format!(", but {complaint}"));
    let entry = TimelineEntry::new(Hop::Ice, format!("{whose} TURN credentials{complaint}"));
    TimelineEntry { until: Some(until), ..entry }
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
    /// Renews what is due, again and again: in time, and at once what may name other servers than
    /// those that are handed out now.
    pub(crate) async fn run(&self) {
        let turn = &self.context.deps.turn;
        let (mut changes, mut outdated_before) = (turn.changes(), Timestamp::EPOCH);
        // A restart does not know which were seen to.
        if *changes.borrow() > 0 {
            changes.mark_changed();
        }
        loop {
            let pause = turn.lifetime().map_or(MAX_CHECK_PAUSE, |lifetime| {
                (lifetime / CHECKS_PER_LIFETIME).clamp(MIN_CHECK_PAUSE, MAX_CHECK_PAUSE)
            });
            if timeout(pause, changes.changed()).await.is_ok() {
                // What is handed out within this second may still be the old ones.
                outdated_before = self.context.now().plus_secs(1);
                tokio::time::sleep(ONE_SECOND).await;
            }
            let lifetime_s = turn.lifetime().map(|lifetime| lifetime.as_secs());
            let due = Due { lifetime_s, outdated_before };
            if due != Due::default()
                && let Err(error) = self.renew_due(due).await
            {
                log::debug!(error:%; "no look at the life of credentials");
            }
        }
    }

    async fn renew_due(&self, due: Due) -> Result<(), SessionsError> {
        let agent = self.context.agent();
        for document in self.cache.live_and_kept(&self.context.deps.bridge).await? {
            if !due.includes(&document, agent, self.context.now()) {
                continue;
            }
            let id = &document.id;
            let renewed = self.context.change(id, |document| {
                if due.includes(document, agent, self.context.now()) {
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

/// Whose servers are to be renewed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Due {
    /// The life of a credential, in seconds; `None` when there is none to renew.
    lifetime_s: Option<u64>,
    /// What is older may name other servers than the present ones.
    outdated_before: Timestamp,
}

impl Due {
    /// Whether the servers of a live session of ours are outdated, or two thirds of the life of its
    /// oldest credentials over.
    fn includes(&self, document: &SessionDocument, agent: &AgentId, now: Timestamp) -> bool {
        let mine = document.owner.as_ref() == Some(agent);
        let live = matches!(document.status, Status::Created | Status::Active)
            && document.desired.state == DesiredState::Running
            && document.desired.client.is_some();
        // None was made before the session; one made since, for a client that joined, ends later.
        let made = document.created_at.max(document.ice_renewed_at);
        let two_thirds = |life: u64| now >= made.plus_secs(life.saturating_mul(2) / 3);
        mine && live && (made < self.outdated_before || self.lifetime_s.is_some_and(two_thirds))
    }
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

    fn is_due(document: &SessionDocument, agent: &AgentId, life: u64, now: Timestamp) -> bool {
        let due = Due { lifetime_s: Some(life), ..Due::default() };
        due.includes(document, agent, now)
    }

    #[test]
    fn the_life_of_a_credential_is_told_and_nothing_of_its_value() {
        let server = |username: Option<&str>| IceServer {
            urls: vec!["turn:a".to_owned()],
            username: username.map(str::to_owned),
            password: Some("secret".to_owned()),
        };
        assert_eq!(expiry(&server(Some("1700000000:id-client"))), Some(1_700_000_000.into()));
        assert_eq!(expiry(&server(None)), None, "a STUN server");
        let entry = credential_entry(3, Peer::Client, 9.into(), Some("no relay answers".into()));
        assert_eq!(entry.text, "client 3 has TURN credentials, but no relay answers");
        assert_eq!(entry.until, Some(9.into()));
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
    fn servers_that_are_outdated_are_renewed_at_once_and_once() {
        let (mut document, me) = (live(), agent("a"));
        let outdated = |before: u64| Due { lifetime_s: None, outdated_before: before.into() };
        assert!(!outdated(0).includes(&document, &me, 9999.into()), "no relay, and none was");
        assert!(!outdated(1000).includes(&document, &me, 1001.into()));
        assert!(outdated(1001).includes(&document, &me, 1001.into()));
        renew(&mut document, 1001.into());
        assert!(!outdated(1001).includes(&document, &me, 1001.into()));
        assert!(outdated(1002).includes(&document, &me, 1002.into()), "changed once more");
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
