//! Shares: links whose holder may join one session, for a while and in one role.
//!
//! The record of a share holds the id of its token, never the token: the gateway mints the link
//! again for whoever may see it. A token is good as long as its record says, which may change, and
//! never beyond [`MAX_LIFETIME`]. Sockets that are opened through a share have tokens with the same
//! id, so they end with it.

pub(crate) mod endpoints;
mod request;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use stream_bridge::{Bridge, BridgeError};
use stream_protocol::subjects::Bucket;
use stream_protocol::{
    DesiredState, Refusal, RefusalCode, Role, SessionDocument, SessionId, ShareId, Timestamp,
    TokenKind,
};
use stream_tokens::{Mint, Revocation, Tokens};

use crate::error::tokens_refusal;
use crate::session_documents;

#[cfg(test)]
pub(crate) use request::{ListQuery, SharePost};
pub(crate) use request::{NewShare, SharePatch, role};

use request::MAX_LIFETIME;

/// The most shares of a session.
const MAX_SHARES: usize = 5;

/// How much longer than the share its record stays: clocks differ.
const CLOCK_SKEW: Duration = Duration::from_secs(60);

/// Why a share was not made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ShareError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("a session has at most {MAX_SHARES} shares")]
    TooMany,
}

impl From<BridgeError> for ShareError {
    fn from(error: BridgeError) -> Self {
        Self::Refused(error.into())
    }
}

impl From<ShareError> for Refusal {
    fn from(error: ShareError) -> Self {
        match error {
            ShareError::Refused(refusal) => refusal,
            ShareError::TooMany => Self::new(RefusalCode::Failed, error.to_string()),
        }
    }
}

/// The record of a share.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Share {
    pub(crate) id: ShareId,
    pub(crate) session_id: SessionId,
    /// The role in which its link joins: `control` or `view`.
    pub(crate) role: Role,
    pub(crate) description: String,
    pub(crate) created_at: Timestamp,
    pub(crate) expiry_at: Timestamp,
    pub(crate) token_id: String,
}

impl Share {
    fn is_over(&self, now: Timestamp) -> bool {
        now >= self.expiry_at
    }

    /// Whether the share opens the session of `document` and the session is live. A session that
    /// begins later under the same id is another one.
    fn is_of(&self, document: &SessionDocument) -> bool {
        let running = document.desired.state == DesiredState::Running;
        let live = running && !document.status.is_final();
        self.session_id == document.id && live && document.created_at <= self.created_at
    }

    /// Returns how long the record is to stay from `now` on.
    fn ttl(&self, now: Timestamp) -> Duration {
        (self.expiry_at - now) + CLOCK_SKEW
    }

    fn mint(&self) -> Mint {
        Mint::new(TokenKind::Share, self.id.to_string())
            .session(self.session_id.clone())
            .role(self.role)
            .expires(self.created_at + MAX_LIFETIME)
    }

    /// Mints the link that the page opens. The token is in the fragment, which browsers do not
    /// send, so a link preview that follows the link joins nothing.
    pub(crate) async fn link(&self, tokens: &Tokens, base: &str) -> Result<String, Refusal> {
        let minted = tokens.mint_with_id(&self.token_id, self.mint()).await;
        let minted = minted.map_err(tokens_refusal)?;
        Ok(link(base, &self.session_id, &minted.token))
    }
}

fn link(base: &str, session: &SessionId, token: &str) -> String {
    format!("{base}/#session={session}&share={token}")
}

/// Returns the share `id` unless it has expired, whatever the state of its session.
pub(crate) async fn find(bridge: &Bridge, id: &str) -> Result<Option<Share>, Refusal> {
    if !ShareId::is(id) {
        return Ok(None);
    }
    let entry = bridge.read::<Share>(Bucket::Shares, id).await?;
    Ok(entry.map(|entry| entry.value).filter(|share| !share.is_over(Timestamp::now())))
}

/// Returns the share `id` if it has not expired and its session is live.
pub(crate) async fn find_open(bridge: &Bridge, id: &str) -> Result<Option<Share>, Refusal> {
    let Some(share) = find(bridge, id).await? else { return Ok(None) };
    let session = share.session_id.as_str();
    let entry = bridge.read::<SessionDocument>(Bucket::Sessions, session).await?;
    Ok(entry.filter(|entry| share.is_of(&entry.value)).map(|_| share))
}

/// Returns the shares of all live sessions, or of `session`, the oldest first.
pub(crate) async fn all(
    bridge: &Bridge,
    session: Option<&SessionId>,
) -> Result<Vec<Share>, Refusal> {
    let documents = bridge.list::<SessionDocument>(Bucket::Sessions).await?;
    let entries = bridge.list::<Share>(Bucket::Shares).await?;
    let mut shares: Vec<_> = entries.into_iter().map(|(_, entry)| entry.value).collect();
    let now = Timestamp::now();
    shares.retain(|share| {
        !share.is_over(now)
            && session.is_none_or(|session| share.session_id == *session)
            && documents.iter().any(|(_, document)| share.is_of(&document.value))
    });
    shares.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
    Ok(shares)
}

/// Makes a share of the session and returns it with its link, which begins with `base`. The share
/// ends at `end` at the latest.
///
/// # Errors
///
/// Refuses a session that is ending, and more shares than a session may have.
pub(crate) async fn make(
    bridge: &Bridge,
    tokens: &Tokens,
    session: &SessionId,
    new: NewShare,
    end: Option<Timestamp>,
    base: &str,
) -> Result<(Share, String), ShareError> {
    let document = session_documents::read(bridge, session).await?.value;
    let now = Timestamp::now();
    let mut share = Share {
        id: ShareId::random(),
        session_id: document.id.clone(),
        role: new.role,
        description: new.description,
        created_at: now,
        expiry_at: request::expiry(new.expiry_at, now, end, now)?,
        token_id: String::new(),
    };
    if !share.is_of(&document) {
        return Err(Refusal::new(RefusalCode::Conflict, "session is ending").into());
    }
    let minted = tokens.mint(share.mint()).await.map_err(tokens_refusal)?;
    share.token_id = minted.id;
    let (bucket, key) = (Bucket::Shares, share.id.as_str());
    let revision = bridge.put_with_ttl(bucket, key, &share, share.ttl(now)).await?;
    // Counted with it in place, so that of several at the same time the last are too many.
    let entries = bridge.list::<Share>(bucket).await?;
    let counts = |other: &Share| other.session_id == share.session_id && !other.is_over(now);
    let before = entries.iter().filter(|(_, e)| e.revision < revision && counts(&e.value)).count();
    if before >= MAX_SHARES {
        bridge.remove(bucket, key).await?;
        return Err(ShareError::TooMany);
    }
    let link = link(base, &share.session_id, &minted.token);
    Ok((share, link))
}

/// Changes a share and returns it as it is stored then. The share ends at `end` at the latest.
///
/// # Errors
///
/// Refuses a share that has expired or whose session has ended, and an expiry that no share may
/// have.
pub(crate) async fn edit(
    bridge: &Bridge,
    id: &ShareId,
    patch: &SharePatch,
    end: Option<Timestamp>,
) -> Result<Share, Refusal> {
    find_open(bridge, id.as_str()).await?.ok_or_else(not_found)?;
    let edit = |share: &mut Share| {
        if let Some(expiry_at) = patch.expiry_at {
            let (made, now) = (share.created_at, Timestamp::now());
            let expiry = request::expiry(Some(expiry_at), made, end, now);
            share.expiry_at = expiry.map_err(BridgeError::Refused)?;
        }
        if let Some(description) = &patch.description {
            share.description.clone_from(description);
        }
        Ok(())
    };
    let ttl = |share: &Share| Some(share.ttl(Timestamp::now()));
    match bridge.change(Bucket::Shares, id.as_str(), ttl, edit).await {
        Ok(entry) => Ok(entry.value),
        Err(BridgeError::NotFound) => Err(not_found()),
        Err(error) => Err(error.into()),
    }
}

/// Ends a share: its link opens nothing any more, and the sockets it opened are closed.
///
/// # Errors
///
/// Refuses a share that does not exist.
pub(crate) async fn end(bridge: &Bridge, tokens: &Tokens, id: &ShareId) -> Result<(), Refusal> {
    let entry = bridge.read::<Share>(Bucket::Shares, id.as_str()).await?.ok_or_else(not_found)?;
    let Share { token_id, created_at, .. } = entry.value;
    let until = created_at + MAX_LIFETIME;
    let revoked = tokens.revoke(Revocation::Token(token_id), Some(until)).await;
    revoked.map_err(tokens_refusal)?;
    Ok(bridge.remove(Bucket::Shares, id.as_str()).await?)
}

fn not_found() -> Refusal {
    Refusal::new(RefusalCode::NotFound, "share not found")
}

#[cfg(test)]
mod tests {
    use stream_protocol::Status;

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
        }
    }

    #[test]
    fn a_share_is_of_its_own_live_session_and_of_none_that_begins_later() {
        let document = document();
        let share = share(&document);
        assert!(share.is_of(&document));
        assert!(!share.is_of(&self::document()), "another session");
        let later = SessionDocument { created_at: 101.into(), ..document.clone() };
        let ended = SessionDocument { status: Status::Terminated, ..document.clone() };
        let mut ending = document;
        ending.desired.state = DesiredState::Terminated;
        for other in [later, ended, ending] {
            assert!(!share.is_of(&other), "{other:?}");
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
