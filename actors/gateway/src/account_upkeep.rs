//! What is done for accounts beside the requests: their last use is noted, and tokens that were
//! replaced are revoked when their time is over.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use stream_bridge::{Bridge, BridgeError};
use stream_protocol::{Refusal, Timestamp};
use stream_tokens::{Revocation, Tokens};
use tokio::sync::{Notify, watch};
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::accounts::{self, Account, AccountName};
use crate::error::tokens_refusal;
use crate::views::{AccountIndex, Views};

/// How exact the last use of an account is; it is written no more often.
const USE_PRECISION: Duration = Duration::from_secs(3600);

/// How long uses are gathered before they are written.
const GATHER: Duration = Duration::from_secs(1);

/// How often tokens are looked for whose time is over. They open nothing before that; what stands
/// open by them is closed then.
const FORMER_TOKENS_POLL: Duration = Duration::from_secs(15);

/// The uses of accounts that are to be written; cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct AccountUses(Arc<Uses>);

#[derive(Default)]
struct Uses {
    /// No more than there are accounts.
    noted: Mutex<HashMap<AccountName, Timestamp>>,
    news: Notify,
}

impl AccountUses {
    /// Notes that `account` is used now, if that was not written in the last hour.
    pub(crate) fn note(&self, account: &Account, now: Timestamp) {
        if account.last_used_at.is_some_and(|last| now < last + USE_PRECISION) {
            return;
        }
        if self.0.noted.lock().insert(account.name.clone(), now).is_none() {
            self.0.news.notify_one();
        }
    }

    /// Writes what is noted. What cannot be written now is noted again by the next use.
    async fn write(&self, bridge: &Bridge) {
        let noted = std::mem::take(&mut *self.0.noted.lock());
        for (name, at) in noted {
            let edit = |account: &mut Account| {
                account.last_used_at = account.last_used_at.max(Some(at));
                Ok(())
            };
            if let Err(error) = accounts::change(bridge, &name, edit).await {
                log::debug!(account = name.as_str(), error:%; "the use of an account is not noted");
            }
        }
    }
}

/// Works until `closing` turns true.
pub(crate) async fn run(
    uses: AccountUses,
    views: Views,
    tokens: Tokens,
    mut closing: watch::Receiver<bool>,
) {
    let mut ticks = interval(FORMER_TOKENS_POLL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let work = async {
        loop {
            tokio::select! {
                biased;
                () = uses.0.news.notified() => {
                    sleep(GATHER).await;
                    uses.write(views.bridge()).await;
                }
                _ = ticks.tick() => {
                    if let Err(error) = end_former_tokens(&views, &tokens).await {
                        log::debug!(error:%; "tokens that were replaced are not revoked yet");
                    }
                }
            }
        }
    };
    tokio::select! {
        biased;
        () = work => {}
        // Without a sender there is no gateway any more.
        _ = closing.wait_for(|closing| *closing) => {}
    }
}

/// Revokes the tokens that were replaced and whose time is over.
async fn end_former_tokens(views: &Views, tokens: &Tokens) -> Result<(), Refusal> {
    let now = views.bridge().now();
    let is_over = |account: &&Arc<Account>| {
        account.former_token.as_ref().is_some_and(|former| former.is_over(now))
    };
    let due = |accounts: &AccountIndex| accounts.iter().filter(is_over).cloned().collect();
    let due: Vec<_> = views.accounts(due).await?;
    for account in due {
        end_former_token(views.bridge(), tokens, &account).await?;
    }
    Ok(())
}

/// Revokes the token of `account` that was replaced, if there is one, and so closes what stands
/// open by it.
pub(crate) async fn end_former_token(
    bridge: &Bridge,
    tokens: &Tokens,
    account: &Account,
) -> Result<(), Refusal> {
    let Some(former) = &account.former_token else { return Ok(()) };
    let revoked = tokens.revoke(Revocation::Token(former.id.clone()), account.expires_at);
    revoked.await.map_err(tokens_refusal)?;
    let edit = |account: &mut Account| {
        account.former_token.take_if(|present| present.id == former.id);
        Ok(())
    };
    match accounts::change(bridge, &account.name, edit).await {
        Ok(_) | Err(BridgeError::NotFound) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_use_of_an_account_is_noted_once_an_hour() {
        let mut account = Account::sample("anna");
        let uses = AccountUses::default();
        let noted = || std::mem::take(&mut *uses.0.noted.lock()).into_values().collect::<Vec<_>>();
        uses.note(&account, 100.into());
        uses.note(&account, 101.into());
        assert_eq!(noted(), [101.into()]);
        account.last_used_at = Some(101.into());
        uses.note(&account, 3700.into());
        assert!(noted().is_empty());
        uses.note(&account, 3701.into());
        assert_eq!(noted(), [3701.into()]);
    }
}
