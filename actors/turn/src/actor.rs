//! The actor: the relay secret as it is known now, and the loop that keeps it so.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use actix::Message;
use stream_bridge::{Bridge, SealedError, follow_sealed};
use stream_pki::Seal;
use stream_protocol::IceServer;
use stream_supervisor::{Handler, Me, Reply, Worker};

use crate::secret::Secret;
use crate::{Config, IssueIceServers, Ready, TurnError, ice};

/// The record that holds the secret.
const RECORD: &str = "agent.turn";

/// The secret, once there is one. Outlives a crash of the actor, which so needs no NATS.
#[derive(Clone, Default)]
pub(crate) struct Kept(Arc<Mutex<Option<Arc<Secret>>>>);

impl Kept {
    fn get(&self) -> Option<Arc<Secret>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, secret: Arc<Secret>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(secret);
    }
}

pub(crate) struct Actor {
    config: Config,
    bridge: Bridge,
    /// `None` without relays.
    seal: Option<Arc<Seal>>,
    kept: Kept,
    /// Why the secret could not be read the last time.
    trouble: Option<Arc<SealedError>>,
}

impl Actor {
    pub(crate) fn new(config: Config, bridge: Bridge, seal: Option<Arc<Seal>>, kept: Kept) -> Self {
        Self { config, bridge, seal, kept, trouble: None }
    }

    /// The secret; `None` when no relay needs one.
    fn secret(&self) -> Result<Option<Arc<Secret>>, TurnError> {
        if self.seal.is_none() {
            return Ok(None);
        }
        self.kept.get().map(Some).ok_or_else(|| match self.trouble.as_deref() {
            None => TurnError::NotReady("it has not been read yet".to_owned()),
            Some(trouble) => trouble.into(),
        })
    }
}

impl Worker for Actor {
    fn started(&mut self, me: &Me<Self>) {
        let Some(seal) = self.seal.clone() else { return };
        let (config, bridge) = (self.config.clone(), self.bridge.clone());
        let told = me.clone();
        me.spawn(async move {
            let first = || Secret::first(&config.first_secret);
            let tell =
                |secret: Result<_, _>| told.tell(Loaded(secret.map(Arc::new).map_err(Arc::new)));
            follow_sealed(&bridge, &seal, RECORD, first, &config.state, tell).await;
        });
    }
}

/// The sealed secret was read, or could not be.
#[derive(Message)]
#[rtype(result = "()")]
struct Loaded(Result<Arc<Secret>, Arc<SealedError>>);

impl Handler<Loaded> for Actor {
    fn handle(&mut self, Loaded(secret): &Loaded, _: &Me<Self>) -> Reply<()> {
        let trouble = match secret {
            Ok(secret) => {
                self.kept.set(Arc::clone(secret));
                None
            }
            Err(error) => Some(Arc::clone(error)),
        };
        // Said once, not at every attempt.
        let sentence = |trouble: &Option<Arc<SealedError>>| trouble.as_ref().map(|e| e.sentence());
        let (before, now) = (sentence(&self.trouble), sentence(&trouble));
        match now {
            Some(now) if before.as_ref() != Some(&now) => {
                log::warn!("TURN secret cannot be read: {now}")
            }
            None if before.is_some() => log::info!("TURN secret can be read again"),
            _ => {}
        }
        self.trouble = trouble;
        ().into()
    }
}

impl Handler<IssueIceServers> for Actor {
    fn handle(
        &mut self,
        ask: &IssueIceServers,
        _: &Me<Self>,
    ) -> Reply<Result<Vec<IceServer>, TurnError>> {
        let secret = self.secret();
        secret.map(|secret| ice::servers(&self.config, secret.as_deref(), ask, now())).into()
    }
}

impl Handler<Ready> for Actor {
    fn handle(&mut self, _: &Ready, _: &Me<Self>) -> Reply<Result<(), TurnError>> {
        self.secret().map(drop).into()
    }
}

/// Unix seconds.
fn now() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0, |now| now.as_secs())
}
