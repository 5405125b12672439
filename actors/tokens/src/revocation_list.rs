//! What is revoked: a key of the bucket for each, and what all of them together refuse.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};
use stream_bridge::{Bridge, BridgeError, Continuity};
use stream_protocol::subjects::Bucket;
use stream_protocol::{SessionId, TokenKind};

use crate::identifier::{ID_LENGTH, Identifier, is_base64url, is_subject};

/// How often all is read anew: what was unrevoked or has outlived its tokens is dropped then.
const FULL_RELOAD: Duration = Duration::from_secs(60);

/// How far clocks may be apart: a record stays so much longer than the tokens it is about.
const CLOCK_SKEW: Duration = Duration::from_secs(3600);

/// A record that would stay for so long may as well stay for ever.
const MAX_TTL: Duration = Duration::from_secs(20 * 365 * 24 * 3600);

/// How long the tokens of a session that has ended stay revoked. Its document stays for an hour;
/// after that a session of the same id may begin, which every unit must know to be another by then.
pub(crate) const ENDED_SESSION_TTL: Duration =
    Duration::from_secs(3600 - 2 * FULL_RELOAD.as_secs());

/// What an operator can revoke.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Revocation {
    /// All tokens of the service account of this name, also future ones.
    Account(String),
    /// All tokens that are bound to this session.
    Session(SessionId),
    /// The token with this id and all that are derived from it.
    Token(String),
}

impl Revocation {
    /// The key of its record. Refuses what is no id of a token and no name of an account.
    pub(crate) fn key(&self) -> Option<String> {
        match self {
            Self::Account(name) => is_subject(name).then(|| format!("account.{}", escape(name))),
            Self::Session(id) => Some(format!("session.{id}")),
            Self::Token(id) => is_base64url(id, ID_LENGTH).then(|| format!("token.{id}")),
        }
    }
}

impl fmt::Display for Revocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account(name) => write!(f, "account {name}"),
            Self::Session(id) => write!(f, "session {id}"),
            Self::Token(id) => write!(f, "token {id}"),
        }
    }
}

/// What the subject of a socket's token begins with when its client came with an account's.
const OF_ACCOUNT: &str = "account:";

/// Returns the subject of the token of a socket whose client came with that of account `name`: it
/// is revoked with the account.
pub fn socket_of_account(name: &str) -> String {
    format!("{OF_ACCOUNT}{name}")
}

/// A record, for whoever looks at the bucket: its key says all that counts.
#[derive(Serialize)]
pub(crate) struct Record {
    /// Unix seconds.
    pub(crate) revoked_at: u64,
}

/// How long the record of tokens that end at `until` must stay; `None` is for ever.
pub(crate) fn record_ttl(until: Option<SystemTime>, now: SystemTime) -> Option<Duration> {
    let left = until?.duration_since(now).unwrap_or_default();
    Some(left + CLOCK_SKEW).filter(|life| *life < MAX_TTL)
}

/// All that is revoked. Copied whenever there is more, so what it holds thousands of is flat.
#[derive(Clone, Debug, Default)]
pub(crate) struct RevocationList {
    accounts: HashSet<String>,
    sessions: HashSet<[u8; SESSION_LENGTH]>,
    tokens: HashSet<[u8; ID_LENGTH]>,
}

/// The bytes of a [`SessionId`].
const SESSION_LENGTH: usize = 20;

fn holds<const N: usize>(ids: &HashSet<[u8; N]>, id: &str) -> bool {
    id.as_bytes().try_into().is_ok_and(|id: [u8; N]| ids.contains(&id))
}

impl RevocationList {
    /// Whether a token with this identifier, bound to this session, is revoked.
    pub(crate) fn covers(&self, identifier: &Identifier<'_>, session: Option<&str>) -> bool {
        let account = match identifier.kind {
            TokenKind::Account => Some(identifier.subject),
            TokenKind::Socket => identifier.subject.strip_prefix(OF_ACCOUNT),
            _ => None,
        };
        holds(&self.tokens, identifier.id)
            || session.is_some_and(|session| holds(&self.sessions, session))
            || account.is_some_and(|name| self.has_account(name))
    }

    pub(crate) fn has_account(&self, name: &str) -> bool {
        self.accounts.contains(name)
    }

    pub(crate) fn has(&self, revocation: &Revocation) -> bool {
        match revocation {
            Revocation::Account(name) => self.accounts.contains(name),
            Revocation::Session(id) => holds(&self.sessions, id.as_str()),
            Revocation::Token(id) => holds(&self.tokens, id),
        }
    }

    /// Notes what the record `key` revokes. One of a kind that is not known here is left out.
    fn add(&mut self, key: &str) {
        let understood = match key.split_once('.') {
            Some(("account", name)) => Some(self.accounts.insert(unescape(name))),
            Some(("session", id)) => {
                id.as_bytes().try_into().ok().map(|id| self.sessions.insert(id))
            }
            Some(("token", id)) => id.as_bytes().try_into().ok().map(|id| self.tokens.insert(id)),
            _ => None,
        };
        if understood.is_none() {
            log::warn!("a record of what is revoked is not understood: upgrade this unit");
        }
    }
}

/// How far the bucket has been read. Outlives a crash of the actor, which so reads on: all anew may
/// take longer than an actor lives that fails again and again.
#[derive(Clone, Default)]
pub(crate) struct ReadState(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    /// Of the store that was read.
    continuity: Option<Continuity>,
    known: Snapshot,
    /// When all of it was read.
    whole: Option<Instant>,
    /// All anew, as far as that has been read.
    anew: Option<Snapshot>,
}

/// What the records up to a revision revoke.
#[derive(Default)]
struct Snapshot {
    revoked: RevocationList,
    last: u64,
}

impl Inner {
    /// The revision after which to read on; 0 for all, as when it may be another store.
    fn begin(&mut self, continuity: Continuity, now: Instant) -> u64 {
        if self.continuity != Some(continuity) {
            *self = Self { continuity: Some(continuity), ..Self::default() };
        }
        let is_fresh = |at| now.saturating_duration_since(at) < FULL_RELOAD;
        if !self.whole.is_some_and(is_fresh) {
            self.anew.get_or_insert_default();
        }
        self.part().last
    }

    fn part(&mut self) -> &mut Snapshot {
        self.anew.as_mut().unwrap_or(&mut self.known)
    }

    /// Adds the next record.
    fn add(&mut self, key: &str, revision: u64) {
        let part = self.part();
        part.revoked.add(key);
        part.last = part.last.max(revision);
    }

    /// Notes that there are no more records now.
    fn end(&mut self, now: Instant) -> Arc<RevocationList> {
        if let Some(anew) = self.anew.take() {
            (self.known, self.whole) = (anew, Some(now));
        }
        Arc::new(self.known.revoked.clone())
    }
}

/// Tells `tell` all that is revoked: at once, whenever there is more, and every 20 s at the latest.
/// Never ends.
pub(crate) async fn follow(
    bridge: &Bridge,
    read_state: &ReadState,
    tell: impl Fn(Result<Arc<RevocationList>, BridgeError>),
) {
    let progress = || locked(&read_state.0);
    let read = async || {
        let continuity = bridge.continuity(Bucket::Revoked).await?;
        let after = progress().begin(continuity, Instant::now());
        let add = |key: &str, revision| progress().add(key, revision);
        bridge.keys(Bucket::Revoked, after, add).await?;
        Ok(progress().end(Instant::now()))
    };
    let look = async || {
        let read = read().await;
        let found = read.is_ok();
        tell(read);
        found
    };
    bridge.watch(Bucket::Revoked, ">", look).await;
}

fn locked(progress: &Mutex<Inner>) -> MutexGuard<'_, Inner> {
    progress.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Writes a name in letters that a key may have.
fn escape(name: &str) -> String {
    let escaped = |c: char| match c {
        '.' | ':' | '@' => format!("={:02X}", u32::from(c)),
        _ => c.to_string(),
    };
    name.chars().map(escaped).collect()
}

fn unescape(name: &str) -> String {
    name.replace("=2E", ".").replace("=3A", ":").replace("=40", "@")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn of(revocations: &[Revocation]) -> RevocationList {
        let mut revoked = RevocationList::default();
        revocations.iter().for_each(|one| revoked.add(&one.key().expect("a key")));
        revoked
    }

    const SESSION: &str = "0123456789abcdefghij";

    fn identifier(kind: TokenKind) -> Identifier<'static> {
        Identifier { kid: "abcdefgh", id: "0123456789abcdef", kind, subject: "a.b@c:d" }
    }

    fn number(n: u64) -> Revocation {
        Revocation::Token(format!("token_number_{n:03}"))
    }

    fn add(read_state: &ReadState, numbers: &[u64]) {
        let mut progress = locked(&read_state.0);
        numbers.iter().for_each(|n| progress.add(&number(*n).key().unwrap(), *n));
    }

    #[test]
    fn who_follows_after_a_crash_reads_on_and_all_anew_when_that_is_due() {
        let (read_state, now) = (ReadState::default(), Instant::now());
        let continuity = Continuity { created_at: 7, connected_since: now };
        assert_eq!(locked(&read_state.0).begin(continuity, now), 0);
        add(&read_state, &[7, 9]);
        locked(&read_state.0).end(now);
        let rebuilt = read_state.clone();
        assert_eq!(locked(&rebuilt.0).begin(continuity, now), 9);
        add(&rebuilt, &[12]);
        let revoked = locked(&rebuilt.0).end(now);
        assert!([7, 9, 12].iter().all(|n| revoked.has(&number(*n))));
        assert_eq!(locked(&read_state.0).begin(continuity, now), 12);

        let due = now + FULL_RELOAD;
        assert_eq!(locked(&read_state.0).begin(continuity, due), 0);
        add(&read_state, &[12]);
        let revoked = locked(&read_state.0).end(due);
        assert!(
            !revoked.has(&number(7)) && revoked.has(&number(12)),
            "what was unrevoked is dropped"
        );
        assert_eq!(locked(&read_state.0).begin(continuity, due), 12);
    }

    #[test]
    fn a_long_read_goes_on_after_failures_but_not_in_what_may_be_another_store() {
        let (read_state, now) = (ReadState::default(), Instant::now());
        let continuity = Continuity { created_at: 7, connected_since: now };
        locked(&read_state.0).begin(continuity, now);
        add(&read_state, &[1, 2]);
        assert_eq!(locked(&read_state.0).begin(continuity, now), 2, "it had not come to the end");
        add(&read_state, &[3]);
        let revoked = locked(&read_state.0).end(now);
        assert!([1, 2, 3].iter().all(|n| revoked.has(&number(*n))));

        let another = Continuity { created_at: 8, ..continuity };
        let again = Continuity { connected_since: now + FULL_RELOAD, ..another };
        for continuity in [another, again] {
            assert_eq!(locked(&read_state.0).begin(continuity, now), 0);
            add(&read_state, &[1]);
        }
        let revoked = locked(&read_state.0).end(now);
        assert!(revoked.has(&number(1)) && !revoked.has(&number(2)));
    }

    #[test]
    fn a_revocation_covers_what_it_names_and_nothing_else() {
        let (account, socket) = (identifier(TokenKind::Account), identifier(TokenKind::Socket));
        let by_id = of(&[Revocation::Token("0123456789abcdef".into())]);
        assert!(by_id.covers(&account, None) && by_id.covers(&socket, Some(SESSION)));
        let by_name = of(&[Revocation::Account("a.b@c:d".into())]);
        assert!(by_name.covers(&account, None) && !by_name.covers(&socket, None));
        let subject = &socket_of_account("a.b@c:d");
        assert!(by_name.covers(&Identifier { subject, ..socket }, Some(SESSION)));
        let by_session = of(&[Revocation::Session(SESSION.parse().unwrap())]);
        assert!(by_session.covers(&socket, Some(SESSION)) && !by_session.covers(&account, None));
        for revoked in [of(&[]), of(&[Revocation::Token("another_token_00".into())])] {
            assert!(!revoked.covers(&account, None) && !revoked.covers(&socket, Some(SESSION)));
        }
    }

    #[test]
    fn names_survive_their_keys_and_others_are_refused() {
        for name in ["a", "a.b@c:d", "..", "=2E@", "a=b"] {
            let revocation = Revocation::Account(name.into());
            match revocation.key() {
                Some(key) => {
                    assert!(!key.trim_start_matches("account.").contains(['.', ':', '@']), "{key}");
                    assert!(of(&[revocation]).has_account(name), "{name}");
                }
                None => assert!(name.contains('='), "{name}"),
            }
        }
        for id in ["", "short", "0123456789abcde.", "0123456789abcdefg"] {
            assert_eq!(Revocation::Token(id.into()).key(), None, "{id}");
        }
    }

    #[test]
    fn a_record_outlives_its_tokens_but_not_by_years() {
        let at = |second| SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        assert_eq!(record_ttl(None, at(0)), None);
        assert_eq!(record_ttl(Some(at(100)), at(40)), Some(CLOCK_SKEW + Duration::from_secs(60)));
        assert_eq!(
            record_ttl(Some(at(100)), at(400)),
            Some(CLOCK_SKEW),
            "ended, but not on every clock"
        );
        assert_eq!(record_ttl(Some(at(1 << 40)), at(0)), None);
    }
}
