//! Another token for an account.

use std::time::Duration;

use stream_bridge::BridgeError;
use stream_protocol::{Refusal, RefusalCode, Timestamp};
use stream_tokens::{Mint, Tokens};
use zeroize::Zeroizing;

use crate::account_upkeep::end_former_token;
use crate::accounts::{Account, AccountName, FormerToken, change, existing};
use crate::error::{bad_request, tokens_refusal};
use crate::views::Views;

/// The longest time for which two tokens of an account are good.
const MAX_OVERLAP: Duration = Duration::from_secs(30 * 24 * 3600);

/// Gives an account another token, which is shown this once and ends when the one before would
/// have. That one, and what stands open by it, ends after `overlap`; one before it ends now. Shares
/// and sessions stay.
///
/// # Errors
///
/// Refuses a name without an account, an account that has ended, and an `overlap` of more than
/// 30 days. When the token before could not be revoked, it opens nothing new all the same.
pub(crate) async fn rotate(
    views: &Views,
    tokens: &Tokens,
    name: &AccountName,
    overlap: Duration,
) -> Result<Zeroizing<String>, Refusal> {
    if overlap > MAX_OVERLAP {
        return Err(bad_request("an overlap is at most 30 days"));
    }
    let bridge = views.bridge();
    let now = bridge.now();
    let account = existing(bridge, name).await?;
    if account.expires_at.is_some_and(|end| end <= now) {
        let sentence = format!("account {} has ended: delete it and create it anew", name.as_str());
        return Err(Refusal::new(RefusalCode::Conflict, sentence));
    }
    // Two at once are one too many, whatever its time.
    end_former_token(bridge, tokens, &account).await?;
    let mint = Mint::new(account.token_kind(), name.as_str()).expires(account.expires_at);
    let minted = tokens.mint(mint).await.map_err(tokens_refusal)?;
    let edit = |present: &mut Account| {
        if present.token_id != account.token_id || present.former_token.is_some() {
            return Err(BridgeError::Conflict);
        }
        replace_token(present, minted.id.clone(), now + overlap);
        Ok(())
    };
    let changed = change(bridge, name, edit).await.map_err(|error| match error {
        BridgeError::Conflict => {
            Refusal::new(RefusalCode::Busy, "the account was changed meanwhile: do it again")
        }
        error => error.into(),
    })?;
    if overlap.is_zero() {
        end_former_token(bridge, tokens, &changed).await?;
    }
    Ok(minted.token)
}

fn replace_token(account: &mut Account, id: String, until: Timestamp) {
    let before = std::mem::replace(&mut account.token_id, id);
    account.first_token_id.get_or_insert_with(|| before.clone());
    account.former_token = Some(FormerToken { id: before, until });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_stays_itself_whatever_its_token() {
        let mut account = Account::sample("anna");
        let first = account.id().to_owned();
        replace_token(&mut account, "second".to_owned(), 100.into());
        replace_token(&mut account, "third".to_owned(), 200.into());
        assert_eq!(account.id(), first);
        assert_eq!(account.opens("third", 150.into()), Some(None));
        assert_eq!(account.opens("second", 150.into()), Some(Some(200.into())));
        assert_eq!(account.opens("second", 200.into()), None);
        assert_eq!(account.opens(&first, 150.into()), None);
    }
}
