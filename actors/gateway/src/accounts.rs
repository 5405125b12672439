//! Service accounts, to which the tokens of the API belong.

use std::sync::Arc;

use stream_bridge::{Bridge, BridgeError};
use stream_protocol::subjects::Bucket;
use stream_protocol::{Refusal, RefusalCode, SessionId, Timestamp};
use stream_tokens::{Mint, Tokens};
use zeroize::Zeroizing;

use crate::error::{bad_request, tokens_refusal};
use crate::views::Views;

pub(crate) use crate::account_record::{Account, AccountLimits, AccountName, FormerToken};

use crate::account_record::token_kind;

/// Returns the account called `name` if the token of this id opens it at `now`, and until when if
/// that is limited by the account.
pub(crate) async fn of_token(
    views: &Views,
    name: &str,
    token_id: &str,
    now: Timestamp,
) -> Result<Option<(Arc<Account>, Option<Timestamp>)>, Refusal> {
    let Ok(name) = name.parse::<AccountName>() else { return Ok(None) };
    let opened = |account: Arc<Account>| {
        let until = account.opens(token_id, now)?;
        Some((account, until))
    };
    let known = views.accounts(|accounts| accounts.find(&name).cloned()).await?;
    if let Some(opened) = known.and_then(opened) {
        return Ok(Some(opened));
    }
    // It may have been made, or have another token, since the view was read.
    Ok(find(views.bridge(), &name).await?.map(Arc::new).and_then(opened))
}

/// Returns the account called `name`, if there is one.
pub(crate) async fn find(bridge: &Bridge, name: &AccountName) -> Result<Option<Account>, Refusal> {
    let entry = bridge.read::<Account>(Bucket::Accounts, &name.key()).await?;
    Ok(entry.map(|entry| entry.value))
}

/// Returns the account called `name`.
///
/// # Errors
///
/// Refuses a name without an account.
pub(crate) async fn existing(bridge: &Bridge, name: &AccountName) -> Result<Account, Refusal> {
    find(bridge, name).await?.ok_or_else(|| {
        let sentence = format!("there is no account {}", name.as_str());
        Refusal::new(RefusalCode::NotFound, sentence)
    })
}

/// Applies `edit` to the record of the account called `name`, as [`Bridge::change`] does, and
/// returns what is stored then.
pub(crate) async fn change(
    bridge: &Bridge,
    name: &AccountName,
    edit: impl Fn(&mut Account) -> Result<(), BridgeError>,
) -> Result<Account, BridgeError> {
    let key = name.key();
    let changed = bridge.change(Bucket::Accounts, &key, |_: &Account| None, edit);
    Ok(changed.await?.value)
}

/// Creates an account, an `operator` if that is asked for, and returns its token, which is shown
/// this once.
///
/// # Errors
///
/// Refuses a name that is taken and an expiry that has passed.
pub(crate) async fn create(
    bridge: &Bridge,
    tokens: &Tokens,
    name: AccountName,
    expires_at: Option<Timestamp>,
    operator: bool,
    limits: AccountLimits,
) -> Result<Zeroizing<String>, Refusal> {
    let now = bridge.now();
    if let Some(at) = expires_at {
        check_expiry(at, now)?;
    }
    let mint = Mint::new(token_kind(operator), name.as_str());
    let mint = mint.expires(expires_at);
    let minted = tokens.mint(mint).await.map_err(tokens_refusal)?;

    let key = name.key();
    let account = Account {
        name,
        token_id: minted.id,
        first_token_id: None,
        former_token: None,
        last_used_at: None,
        created_at: now,
        expires_at,
        operator,
        limits,
    };
    match bridge.create(Bucket::Accounts, &key, &account).await {
        Ok(_) => Ok(minted.token),
        Err(BridgeError::Conflict) => {
            let sentence = format!("account {} exists already", account.name.as_str());
            Err(Refusal::new(RefusalCode::Conflict, sentence))
        }
        Err(error) => Err(error.into()),
    }
}

/// Returns the sessions of an account that have not ended.
pub(crate) async fn live_sessions(
    views: &Views,
    account: &Account,
) -> Result<Vec<SessionId>, Refusal> {
    views
        .sessions(|sessions| {
            let made = sessions.of_account(account.id());
            let live = made.filter(|session| !session.status.is_final());
            live.map(|session| session.id.clone()).collect()
        })
        .await
}

/// Returns all accounts, by name.
pub(crate) async fn list(bridge: &Bridge) -> Result<Vec<Account>, Refusal> {
    let entries = bridge.list::<Account>(Bucket::Accounts).await?;
    let mut accounts: Vec<_> = entries.into_iter().map(|(_, entry)| entry.value).collect();
    accounts.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(accounts)
}

/// The last second that a token can name: the end of the year 9999.
const LAST_EXPIRY: Timestamp = Timestamp::from_unix(253_402_300_799);

fn check_expiry(at: Timestamp, now: Timestamp) -> Result<(), Refusal> {
    if at <= now || at > LAST_EXPIRY {
        return Err(bad_request("an account expires in the future, before the year 10000"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_cannot_expire_in_the_past_or_beyond_what_a_token_can_say() {
        let check = |at: u64| check_expiry(at.into(), 10.into());
        assert!(check(11).is_ok() && check(253_402_300_799).is_ok());
        assert!(check(10).is_err() && check(253_402_300_800).is_err());
        assert!(check(u64::MAX).is_err());
    }
}
