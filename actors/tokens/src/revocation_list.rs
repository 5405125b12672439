//! What is revoked: one key of the bucket each, and the list that all of them make.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use stream_bridge::{Bridge, BridgeError, Continuity};
use stream_protocol::subjects::Bucket;
use stream_protocol::{SessionId, Timestamp, TokenKind};
use tokio::time::Instant;

use crate::identifier::{ID_LENGTH, Identifier, is_base64url, is_subject};
use crate::watchers::News;

/// How often all records are read again: only then does the list lose what has outlived its tokens
/// while this unit did not look.
const FULL_RELOAD: Duration = Duration::from_secs(60);

/// How far clocks may be apart: a record stays that much longer than the tokens it is about.
const CLOCK_SKEW: Duration = Duration::from_secs(3600);

/// A record that would stay longer than this stays for ever.
const MAX_TTL: Duration = Duration::from_secs(20 * 365 * 24 * 3600);

/// How long the tokens of a session that has ended stay revoked. Its document stays for an hour;
/// then another session may begin with the same id, and no unit may still list it.
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
    /// Returns the key of its record; `None` for what is no id of a token and no name of an
    /// account.
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

/// The beginning of the subject of a socket's token whose client came with an account's token.
const OF_ACCOUNT: &str = "account:";

impl<'a> Identifier<'a> {
    /// The account whose revocation ends the token.
    fn account(&self) -> Option<&'a str> {
        match self.kind {
            TokenKind::Account | TokenKind::Operator => Some(self.subject),
            TokenKind::Socket => self.subject.strip_prefix(OF_ACCOUNT),
            _ => None,
        }
    }

    /// Returns the keys of the records that revoke a token with this identifier, bound to this
    /// session.
    pub(crate) fn revoking_keys(&self, session: Option<&str>) -> Vec<String> {
        let account = self.account().map(|name| Revocation::Account(name.to_owned()));
        let session = session.and_then(|session| session.parse().ok()).map(Revocation::Session);
        let token = Revocation::Token(self.id.to_owned());
        [Some(token), session, account].into_iter().flatten().filter_map(|one| one.key()).collect()
    }
}

/// Returns the subject of a socket's token whose client came with the token of account `name`.
/// Revoking the account revokes it too.
pub fn socket_of_account(name: &str) -> String {
    format!("{OF_ACCOUNT}{name}")
}

/// The value of a record, for people who inspect the bucket: the key says all that counts.
#[derive(Serialize)]
pub(crate) struct Record {
    pub(crate) revoked_at: Timestamp,
}

/// Returns how long the record of tokens that expire at `until` must stay; `None` is for ever.
pub(crate) fn record_ttl(until: Option<Timestamp>, now: Timestamp) -> Option<Duration> {
    Some((until? - now) + CLOCK_SKEW).filter(|life| *life < MAX_TTL)
}

/// All that is revoked. It is copied whenever a record is added, so ids are held without a heap
/// block each.
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

fn forget<const N: usize>(ids: &mut HashSet<[u8; N]>, id: &str) {
    if let Ok(id) = <[u8; N]>::try_from(id.as_bytes()) {
        ids.remove(&id);
    }
}

impl RevocationList {
    /// Returns whether a token with this identifier, bound to this session, is revoked.
    pub(crate) fn covers(&self, identifier: &Identifier<'_>, session: Option<&str>) -> bool {
        let account = identifier.account();
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

    /// Takes out what the record `key` revoked.
    fn remove(&mut self, key: &str) {
        match key.split_once('.') {
            Some(("account", name)) => drop(self.accounts.remove(&unescape(name))),
            Some(("session", id)) => forget(&mut self.sessions, id),
            Some(("token", id)) => forget(&mut self.tokens, id),
            _ => {}
        }
    }

    /// Adds what the record `key` revokes. A kind that this version does not know is left out.
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

/// How far the bucket has been read. Shared state: an actor that fails again and again reads on
/// where the one before it stopped, else a long read would never complete.
#[derive(Clone, Default)]
pub(crate) struct ReadState(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    /// The store that was read, and since when it is connected.
    continuity: Option<Continuity>,
    /// What the last complete read found, and what was added since.
    complete: Snapshot,
    /// When `complete` was last read from the beginning.
    completed_at: Option<Instant>,
    /// A read from the beginning that has not come to the end yet.
    reload: Option<Snapshot>,
    /// The keys of the records that were added to `complete` since its last end.
    added: Vec<String>,
}

/// What the records up to the revision `last` revoke.
#[derive(Default)]
struct Snapshot {
    revoked: RevocationList,
    last: u64,
}

impl Inner {
    /// Returns the revision after which to read on; 0 to read all, as when it may be another store.
    fn begin(&mut self, continuity: Continuity, now: Instant) -> u64 {
        if self.continuity != Some(continuity) {
            *self = Self { continuity: Some(continuity), ..Self::default() };
        }
        let is_fresh = |at| now.saturating_duration_since(at) < FULL_RELOAD;
        if !self.completed_at.is_some_and(is_fresh) {
            self.reload.get_or_insert_default();
        }
        self.current().last
    }

    /// Returns the snapshot that is being read.
    fn current(&mut self) -> &mut Snapshot {
        self.reload.as_mut().unwrap_or(&mut self.complete)
    }

    /// Takes the next record, which has no revision if it was removed.
    fn take(&mut self, key: &str, revision: Option<u64>) {
        let current = self.current();
        match revision {
            Some(revision) => {
                current.revoked.add(key);
                current.last = current.last.max(revision);
                if self.reload.is_none() {
                    self.added.push(key.to_owned());
                }
            }
            None => current.revoked.remove(key),
        }
    }

    /// Completes the read, and returns the list with what is new in it.
    fn end(&mut self, now: Instant) -> (Arc<RevocationList>, News) {
        let added = std::mem::take(&mut self.added);
        let news = match self.reload.take() {
            Some(reload) => {
                (self.complete, self.completed_at) = (reload, Some(now));
                News::Whole
            }
            None => News::Added(added),
        };
        (Arc::new(self.complete.revoked.clone()), news)
    }
}

/// Reads the list and gives it to `on_read` with what is new: at once, whenever a record is added,
/// and every 20 s at the latest. Never ends.
pub(crate) async fn follow(
    bridge: &Bridge,
    read_state: &ReadState,
    on_read: impl Fn(Result<(Arc<RevocationList>, News), BridgeError>),
) {
    let state = || read_state.0.lock();
    let read = async || {
        let continuity = bridge.continuity(Bucket::Revoked).await?;
        let after = state().begin(continuity, Instant::now());
        let take = |key: &str, revision| state().take(key, revision);
        bridge.keys(Bucket::Revoked, after, take).await?;
        Ok(state().end(Instant::now()))
    };
    let refresh = async || {
        let read = read().await;
        let found = read.is_ok();
        on_read(read);
        found
    };
    bridge.watch(Bucket::Revoked, ">", refresh).await;
}

/// Writes a name in the characters that a key may have.
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

    #[test]
    fn what_is_taken_back_is_not_revoked_any_more() {
        let session: SessionId = SESSION.parse().unwrap();
        let all =
            [Revocation::Session(session), Revocation::Account("a.b@c:d".to_owned()), number(1)];
        let state = ReadState::default();
        let keys = all.iter().map(|one| one.key().expect("a key"));
        keys.clone().zip(1..).for_each(|(key, n)| state.0.lock().take(&key, Some(n)));
        let revoked = |state: &ReadState| state.0.lock().end(Instant::now()).0;
        assert!(all.iter().all(|one| revoked(&state).has(one)));
        keys.for_each(|key| state.0.lock().take(&key, None));
        assert!(!all.iter().any(|one| revoked(&state).has(one)));
    }

    fn add(read_state: &ReadState, numbers: &[u64]) {
        let mut state = read_state.0.lock();
        numbers.iter().for_each(|n| state.take(&number(*n).key().unwrap(), Some(*n)));
    }

    #[test]
    fn who_follows_after_a_crash_reads_on_and_all_anew_when_that_is_due() {
        let (read_state, now) = (ReadState::default(), Instant::now());
        let continuity = Continuity { created_at: 7, connected_since: now };
        assert_eq!(read_state.0.lock().begin(continuity, now), 0);
        add(&read_state, &[7, 9]);
        read_state.0.lock().end(now);
        let rebuilt = read_state.clone();
        assert_eq!(rebuilt.0.lock().begin(continuity, now), 9);
        add(&rebuilt, &[12]);
        let (revoked, news) = rebuilt.0.lock().end(now);
        assert_eq!(news, News::Added(vec![number(12).key().unwrap()]));
        assert!([7, 9, 12].iter().all(|n| revoked.has(&number(*n))));
        assert_eq!(read_state.0.lock().begin(continuity, now), 12);

        let due = now + FULL_RELOAD;
        assert_eq!(read_state.0.lock().begin(continuity, due), 0);
        add(&read_state, &[12]);
        let (revoked, news) = read_state.0.lock().end(due);
        assert_eq!(news, News::Whole);
        assert!(
            !revoked.has(&number(7)) && revoked.has(&number(12)),
            "what was unrevoked is dropped"
        );
        assert_eq!(read_state.0.lock().begin(continuity, due), 12);
    }

    #[test]
    fn a_long_read_goes_on_after_failures_but_not_in_what_may_be_another_store() {
        let (read_state, now) = (ReadState::default(), Instant::now());
        let continuity = Continuity { created_at: 7, connected_since: now };
        read_state.0.lock().begin(continuity, now);
        add(&read_state, &[1, 2]);
        assert_eq!(read_state.0.lock().begin(continuity, now), 2, "it had not come to the end");
        add(&read_state, &[3]);
        let revoked = read_state.0.lock().end(now).0;
        assert!([1, 2, 3].iter().all(|n| revoked.has(&number(*n))));

        let another = Continuity { created_at: 8, ..continuity };
        let again = Continuity { connected_since: now + FULL_RELOAD, ..another };
        for continuity in [another, again] {
            assert_eq!(read_state.0.lock().begin(continuity, now), 0);
            add(&read_state, &[1]);
        }
        let revoked = read_state.0.lock().end(now).0;
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
        let at = Timestamp::from_unix;
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
