//! The end of an account, and of what it gave away.

use stream_protocol::subjects::Bucket;
use stream_protocol::{Refusal, RefusalCode};
use stream_tokens::{Revocation, Tokens};

use crate::accounts::{AccountName, existing, live_sessions};
use crate::error::tokens_refusal;
use crate::views::Views;
use crate::{session_documents, shares};

/// Deletes an account: its token is refused from now on, the sockets it opened are closed, and its
/// shares end; with `sessions` its sessions as well. What is left after a failure ends when it is
/// deleted again.
///
/// # Errors
///
/// Refuses a name without an account.
pub(crate) async fn delete(
    views: &Views,
    tokens: &Tokens,
    name: &AccountName,
    sessions: bool,
) -> Result<(), Refusal> {
    let bridge = views.bridge();
    let account = existing(bridge, name).await?;
    // First, so that it makes nothing new meanwhile; and for as long as the token would be good,
    // since the record stays when what follows fails.
    let former = account.former_token.as_ref().map(|former| &former.id);
    for id in [&account.token_id].into_iter().chain(former) {
        let revoked = tokens.revoke(Revocation::Token(id.clone()), account.expires_at).await;
        revoked.map_err(tokens_refusal)?;
    }
    for share in shares::made_by(views, &account).await? {
        match shares::end(bridge, tokens, &share).await {
            Err(gone) if gone.code == RefusalCode::NotFound => {}
            ended => ended?,
        }
    }
    if sessions {
        let cause = format!("account {} is deleted", name.as_str());
        for session in live_sessions(views, &account).await? {
            match session_documents::end(bridge, tokens, &session, &cause).await {
                Err(gone) if gone.code == RefusalCode::NotFound => {}
                ended => drop(ended?),
            }
        }
    }
    // Last: without it nothing of the rest is found again.
    Ok(bridge.remove(Bucket::Accounts, &name.key()).await?)
}
