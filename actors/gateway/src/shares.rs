//! Shares: links whose holder may join one session, for a while and in one role, or use its ADB.
//!
//! The record of a share holds the id of its token, never the token: the gateway mints the link
//! again for whoever may see it. A token is good as long as its record says, which may change, and
//! never beyond [`MAX_LIFETIME`]. Sockets that are opened through a share have tokens with the same
//! id, so they end with it.

pub(crate) mod endpoints;
mod qr_code;
mod request;

use std::sync::Arc;
use std::time::Duration;

use stream_bridge::{Bridge, BridgeError};
use stream_protocol::subjects::Bucket;
use stream_protocol::{
    Maker, Refusal, RefusalCode, Role, SessionId, ShareId, Status, Timestamp, TokenKind,
};
use stream_tokens::{Mint, Revocation, Tokens};

use crate::accounts::Account;
use crate::adb_connections;
use crate::error::tokens_refusal;
use crate::response::HttpError;
use crate::session_documents;
use crate::session_summary::SessionSummary;
use crate::sessions::client_slot;
use crate::views::{SessionIndex, ShareIndex, Views};

pub(crate) use crate::share_record::Share;
#[cfg(test)]
pub(crate) use request::{ListQuery, SharePost};
pub(crate) use request::{Listing, NewShare, SharePatch, role};

use request::MAX_LIFETIME;

/// Why a share was not made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ShareError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("{}", client_slot::NO_ADB)]
    NoAdb,
    #[error("{}", client_slot::NO_ROLES)]
    NoRoles,
    #[error(
        "a session has at most {max} {kind}share{plural}",
        kind = if *.is_adb { "adb " } else { "" },
        plural = if *.max == 1 { "" } else { "s" }
    )]
    TooMany { max: u32, is_adb: bool },
}

impl From<BridgeError> for ShareError {
    fn from(error: BridgeError) -> Self {
        Self::Refused(error.into())
    }
}

impl From<ShareError> for HttpError {
    fn from(error: ShareError) -> Self {
        match error {
            ShareError::Refused(refusal) => refusal.into(),
            ShareError::NoAdb | ShareError::NoRoles => Self::conflict(error.to_string()),
            ShareError::TooMany { .. } => Self::forbidden(error.to_string()),
        }
    }
}

impl From<ShareError> for Refusal {
    fn from(error: ShareError) -> Self {
        match error {
            ShareError::Refused(refusal) => refusal,
            ShareError::NoAdb | ShareError::NoRoles => {
                Self::new(RefusalCode::Conflict, error.to_string())
            }
            ShareError::TooMany { .. } => Self::new(RefusalCode::Failed, error.to_string()),
        }
    }
}

impl Share {
    fn mint(&self) -> Mint {
        Mint::new(TokenKind::Share, self.id.to_string())
            .session(self.session_id.clone())
            .role(self.role)
            .expires(self.created_at + MAX_LIFETIME)
    }

    /// Mints the link that the page opens, or with which a client of ADB connects. The token of the
    /// former is in the fragment, which browsers do not send, so a link preview that follows the
    /// link joins nothing.
    pub(crate) async fn link(&self, tokens: &Tokens, base: &str) -> Result<String, Refusal> {
        let minted = tokens.mint_with_id(&self.token_id, self.mint()).await;
        let minted = minted.map_err(tokens_refusal)?;
        Ok(self.link_with(base, &minted.token))
    }

    fn link_with(&self, base: &str, token: &str) -> String {
        let session = &self.session_id;
        match self.is_adb() {
            true => format!("{base}/1.0/sessions/{session}/connect?type=adb&token={token}"),
            false => format!("{base}/#session={session}&share={token}"),
        }
    }
}

/// Returns the share `id` unless it has expired or its maker is gone, whatever the state of its
/// session.
pub(crate) async fn find(
    views: &Views,
    tokens: &Tokens,
    id: &str,
) -> Result<Option<Arc<Share>>, Refusal> {
    if !ShareId::is(id) {
        return Ok(None);
    }
    let share = views.share(id).await?.filter(|share| !share.is_over(views.bridge().now()));
    let Some(share) = share else { return Ok(None) };
    if let Some(maker) = &share.made_by {
        let found = match maker.account.parse() {
            Ok(name) => views.account(&name).await?,
            Err(_) => None,
        };
        let is_good = |account: &Account| {
            account.is(Some(maker)) && !tokens.is_revoked(&maker.account, &account.token_id)
        };
        if !found.as_deref().is_some_and(is_good) {
            return Ok(None);
        }
    }
    Ok(Some(share))
}

/// Returns the ids of the shares that `account` made.
pub(crate) async fn made_by(views: &Views, account: &Account) -> Result<Vec<ShareId>, Refusal> {
    let made = |share: &&Arc<Share>| account.is(share.made_by.as_ref());
    views.shares(|shares| shares.all().filter(made).map(|share| share.id.clone()).collect()).await
}

/// Returns the share `id` if it has not expired, its maker is there and its session is live.
pub(crate) async fn find_open(
    views: &Views,
    tokens: &Tokens,
    id: &str,
) -> Result<Option<Arc<Share>>, Refusal> {
    let Some(share) = find(views, tokens, id).await? else { return Ok(None) };
    let session = views.session(&share.session_id).await?;
    Ok(session.filter(|session| share.is_of(session)).map(|_| share))
}

/// Returns the shares of all live sessions, or of `session`, the oldest first.
pub(crate) async fn all(
    views: &Views,
    session: Option<&SessionId>,
) -> Result<Vec<Arc<Share>>, Refusal> {
    let now = views.bridge().now();
    let mut shares: Vec<_> = match session {
        Some(session) => {
            let of = |shares: &ShareIndex| {
                let of_session = shares.of_session(session).map(|(share, _)| Arc::clone(share));
                of_session.collect::<Vec<_>>()
            };
            let mut shares = views.shares(of).await?;
            shares.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
            shares
        }
        None => views.shares(|shares| shares.all().cloned().collect()).await?,
    };
    let is_open = |sessions: &SessionIndex, share: &Share| {
        let session = sessions.find(&share.session_id);
        !share.is_over(now) && session.is_some_and(|session| share.is_of(session))
    };
    views
        .sessions(|sessions| {
            shares.retain(|share| is_open(sessions, share));
            shares
        })
        .await
}

/// Makes a share of the session for `made_by` and returns it with its link, which begins with
/// `base`. The share ends at `end` at the latest.
///
/// # Errors
///
/// Refuses a session that is ending, and more shares than a session may have, of which those for
/// ADB are counted apart. A share that joins is refused for a session that takes one client only;
/// one that only views, and one for ADB, where the instance runs and does not say that it honours
/// roles, or serves ADB. Before it runs nobody knows; who comes then is judged when they do.
pub(crate) async fn make(
    views: &Views,
    tokens: &Tokens,
    session: &SessionId,
    new: NewShare,
    (made_by, end): (Option<Maker>, Option<Timestamp>),
    base: &str,
) -> Result<(Share, String), ShareError> {
    let bridge = views.bridge();
    let settings = views.settings().await;
    let lifetime = Duration::from_secs(u64::from(settings.share_expiry_h) * 3600);
    let document = session_documents::read(bridge, session).await?.value;
    let is_joinable = document.request.joinable;
    let knows_no_roles = document.status == Status::Active && !document.has_roles();
    let has_no_adb = adb_connections::is_missing(&document);
    let session = SessionSummary::of(document);
    let now = views.bridge().now();
    let mut share = Share {
        id: ShareId::random(),
        session_id: session.id.clone(),
        role: new.role,
        description: new.description,
        created_at: now,
        expiry_at: request::expiry(new.expiry_at.unwrap_or(now + lifetime), now, end, now)?,
        token_id: String::new(),
        made_by,
    };
    if !share.is_of(&session) {
        return Err(Refusal::new(RefusalCode::Conflict, "session is ending").into());
    }
    if share.is_adb() && has_no_adb {
        return Err(ShareError::NoAdb);
    }
    if !share.is_adb() && !is_joinable {
        return Err(client_slot::not_joinable().into());
    }
    if share.role == Role::View && knows_no_roles {
        return Err(ShareError::NoRoles);
    }
    let minted = tokens.mint(share.mint()).await.map_err(tokens_refusal)?;
    share.token_id = minted.id;
    let (bucket, key) = (Bucket::Shares, share.id.as_str());
    let revision = bridge.put_with_ttl(bucket, key, &share, share.ttl(now)).await?;
    // Counted with it in place, so that of several at the same time the last are too many.
    let is_before = |(other, stored): &(&Arc<Share>, u64)| {
        *stored < revision && !other.is_over(now) && other.is_adb() == share.is_adb()
    };
    let count =
        |shares: &ShareIndex| shares.of_session(&share.session_id).filter(is_before).count();
    let before = views.shares_now(count).await?;
    if before >= settings.shares_per_session as usize {
        bridge.remove(bucket, key).await?;
        let (max, is_adb) = (settings.shares_per_session, share.is_adb());
        return Err(ShareError::TooMany { max, is_adb });
    }
    let link = share.link_with(base, &minted.token);
    Ok((share, link))
}

/// Changes a share and returns it as it is stored then. The share ends at `end` at the latest.
///
/// # Errors
///
/// Refuses a share that has expired or whose session has ended, and an expiry that no share may
/// have.
pub(crate) async fn edit(
    views: &Views,
    tokens: &Tokens,
    id: &ShareId,
    patch: &SharePatch,
    end: Option<Timestamp>,
) -> Result<Share, Refusal> {
    find_open(views, tokens, id.as_str()).await?.ok_or_else(not_found)?;
    let edit = |share: &mut Share| {
        if let Some(expiry_at) = patch.expiry_at {
            let (made, now) = (share.created_at, views.bridge().now());
            let expiry = request::expiry(expiry_at, made, end, now);
            share.expiry_at = expiry.map_err(BridgeError::Refused)?;
        }
        if let Some(description) = &patch.description {
            share.description.clone_from(description);
        }
        Ok(())
    };
    let ttl = |share: &Share| Some(share.ttl(views.bridge().now()));
    let share = match views.bridge().change(Bucket::Shares, id.as_str(), ttl, edit).await {
        Ok(entry) => entry.value,
        Err(BridgeError::NotFound) => return Err(not_found()),
        Err(error) => return Err(error.into()),
    };
    if share.is_adb() && patch.expiry_at.is_some() {
        adb_connections::prolong(views.bridge(), &share).await?;
    }
    Ok(share)
}

/// Ends a share: its link opens nothing any more, the sockets it opened are closed, and the
/// instance is told to cut off who uses its ADB through it.
///
/// # Errors
///
/// Refuses a share that does not exist.
pub(crate) async fn end(bridge: &Bridge, tokens: &Tokens, id: &ShareId) -> Result<(), Refusal> {
    let entry = bridge.read::<Share>(Bucket::Shares, id.as_str()).await?.ok_or_else(not_found)?;
    let share = entry.value;
    let until = share.created_at + MAX_LIFETIME;
    let revoked = tokens.revoke(Revocation::Token(share.token_id.clone()), Some(until)).await;
    revoked.map_err(tokens_refusal)?;
    // While the record is there: a failure is made good by whoever deletes the share again.
    if share.is_adb() {
        adb_connections::end(bridge, &share.session_id, id, None).await?;
    }
    Ok(bridge.remove(Bucket::Shares, id.as_str()).await?)
}

pub(crate) fn not_found() -> Refusal {
    Refusal::new(RefusalCode::NotFound, "share not found")
}

#[cfg(test)]
mod tests {
    use actix_web::ResponseError;

    use super::*;

    #[test]
    fn too_many_shares_are_forbidden() {
        let error = ShareError::TooMany { max: 5, is_adb: true };
        assert_eq!(error.to_string(), "a session has at most 5 adb shares");
        assert_eq!(HttpError::from(error).status_code().as_u16(), 403);
    }
}
