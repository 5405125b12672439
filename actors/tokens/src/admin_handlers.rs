//! What operators and services change: every change holds for all units.

use std::sync::Arc;
use std::time::Duration;

use actix::Message;
use stream_protocol::subjects::Bucket;
use stream_supervisor::{Context, Handler, Reply};
use zeroize::Zeroizing;

use crate::actor::{Actor, KeysRead};
use crate::inspect::inspect;
use crate::keyring::{Keyring, RootKey};
use crate::revocation_list::Record;
use crate::{Inspection, KeyInfo, Revocation, TokensError};

/// Revokes tokens.
#[derive(Message)]
#[rtype(result = "Result<(), TokensError>")]
pub(crate) struct Revoke {
    pub(crate) revocation: Revocation,
    /// How long the record stays; `None` is for ever.
    pub(crate) ttl: Option<Duration>,
}

/// Takes a revocation back.
#[derive(Message)]
#[rtype(result = "Result<(), TokensError>")]
pub(crate) struct Unrevoke(pub(crate) Revocation);

/// Adds a root key.
#[derive(Message)]
#[rtype(result = "Result<KeyInfo, TokensError>")]
pub(crate) struct Rotate {
    pub(crate) lead: Duration,
}

/// Removes a root key.
#[derive(Message)]
#[rtype(result = "Result<(), TokensError>")]
pub(crate) struct Retire {
    pub(crate) kid: String,
}

/// Lists the root keys.
#[derive(Message)]
#[rtype(result = "Result<Vec<KeyInfo>, TokensError>")]
pub(crate) struct Keys;

/// Explains a token.
#[derive(Message)]
#[rtype(result = "Result<Inspection, TokensError>")]
pub(crate) struct Inspect {
    pub(crate) token: Zeroizing<String>,
}

impl Actor {
    /// Applies `edit` to the root keys of all units, and returns them.
    fn change(
        &self,
        ctx: &Context<Self>,
        edit: impl Fn(&mut Keyring) -> Result<(), TokensError> + 'static,
    ) -> impl Future<Output = Result<Arc<Keyring>, TokensError>> + 'static {
        let (record, ctx) = (self.record.clone(), ctx.clone());
        async move {
            let keys = Arc::new(record.update(edit).await?);
            ctx.tell(KeysRead(Ok(Arc::clone(&keys))));
            Ok(keys)
        }
    }
}

impl Handler<Revoke> for Actor {
    fn handle(&mut self, ask: &Revoke, _: &Context<Self>) -> Reply<Result<(), TokensError>> {
        let (bridge, revocation, ttl) = (self.bridge.clone(), ask.revocation.clone(), ask.ttl);
        Reply::later(async move {
            let key = key(&revocation)?;
            let record = Record { revoked_at: bridge.now() };
            match ttl {
                Some(ttl) => bridge.put_with_ttl(Bucket::Revoked, &key, &record, ttl).await?,
                None => bridge.put(Bucket::Revoked, &key, &record).await?,
            };
            log::info!(revocation:%; "tokens: revoked");
            Ok(())
        })
    }
}

impl Handler<Unrevoke> for Actor {
    fn handle(
        &mut self,
        Unrevoke(revocation): &Unrevoke,
        _: &Context<Self>,
    ) -> Reply<Result<(), TokensError>> {
        let (bridge, revocation) = (self.bridge.clone(), revocation.clone());
        Reply::later(async move {
            bridge.remove(Bucket::Revoked, &key(&revocation)?).await?;
            log::info!(revocation:%; "tokens: unrevoked");
            Ok(())
        })
    }
}

fn key(revocation: &Revocation) -> Result<String, TokensError> {
    let refused = || TokensError::Refused(format!("there can be no {revocation}"));
    revocation.key().ok_or_else(refused)
}

impl Handler<Rotate> for Actor {
    fn handle(&mut self, ask: &Rotate, ctx: &Context<Self>) -> Reply<Result<KeyInfo, TokensError>> {
        let now = self.bridge.now();
        let key = RootKey::fresh(now, ask.lead);
        let kid = key.kid.clone();
        let change = self.change(ctx, move |keys| keys.add(key.clone(), now));
        Reply::later(async move {
            let list = change.await?.list(now);
            log::info!(kid:%; "tokens: rotated, there is a new root key");
            let added = list.into_iter().find(|key| key.kid == kid);
            Ok(added.expect("it was added"))
        })
    }
}

impl Handler<Retire> for Actor {
    fn handle(&mut self, ask: &Retire, ctx: &Context<Self>) -> Reply<Result<(), TokensError>> {
        let (kid, now) = (ask.kid.clone(), self.bridge.now());
        let change = self.change(ctx, move |keys| keys.retire(&kid, now));
        let kid = ask.kid.clone();
        Reply::later(async move {
            change.await?;
            log::info!(kid:%; "tokens: retired a root key");
            Ok(())
        })
    }
}

impl Handler<Keys> for Actor {
    fn handle(&mut self, _: &Keys, _: &Context<Self>) -> Reply<Result<Vec<KeyInfo>, TokensError>> {
        self.known().map(|(keys, _)| keys.list(self.bridge.now())).into()
    }
}

impl Handler<Inspect> for Actor {
    fn handle(
        &mut self,
        ask: &Inspect,
        _: &Context<Self>,
    ) -> Reply<Result<Inspection, TokensError>> {
        let inspection = self.known().map(|(keys, revoked)| {
            inspect(&keys, &revoked, self.service, &ask.token, self.bridge.now())
        });
        inspection.into()
    }
}
