//! The actor: the root keys as they are known now, and the loop that keeps them so.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use actix::Message;
use stream_bridge::{Bridge, SealedError, follow_sealed};
use stream_pki::Seal;
use stream_supervisor::{Handler, Me, Reply, Worker};

use crate::keyring::Keyring;
use crate::{Claims, Config, Mint, Minted, Ready, Side, TokensError, Verify, authority};

/// The root keys, once there are any. Outlives a crash of the actor, which so needs no NATS.
#[derive(Clone, Default)]
pub(crate) struct Kept(Arc<Mutex<Option<Arc<Keyring>>>>);

impl Kept {
    fn get(&self) -> Option<Arc<Keyring>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, keyring: Arc<Keyring>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(keyring);
    }
}

pub(crate) struct Actor {
    config: Config,
    side: Side,
    bridge: Bridge,
    seal: Arc<Seal>,
    kept: Kept,
    /// Why the keys could not be read the last time.
    trouble: Option<Arc<SealedError>>,
}

impl Actor {
    pub(crate) fn new(
        config: Config,
        side: Side,
        bridge: Bridge,
        seal: Arc<Seal>,
        kept: Kept,
    ) -> Self {
        Self { config, side, bridge, seal, kept, trouble: None }
    }

    fn keyring(&self) -> Result<Arc<Keyring>, TokensError> {
        self.kept.get().ok_or_else(|| match self.trouble.as_deref() {
            None => TokensError::NotReady("they have not been read yet".to_owned()),
            Some(trouble) => trouble.into(),
        })
    }
}

impl Worker for Actor {
    fn started(&mut self, me: &Me<Self>) {
        let (config, bridge) = (self.config.clone(), self.bridge.clone());
        let (seal, name) = (Arc::clone(&self.seal), self.side.record());
        let told = me.clone();
        me.spawn(async move {
            let first = || Keyring::first(&config.first_root_key);
            let tell = |keys: Result<_, _>| told.tell(Loaded(keys.map(Arc::new).map_err(Arc::new)));
            follow_sealed(&bridge, &seal, name, first, &config.state, tell).await;
        });
    }
}

/// The sealed keys were read, or could not be.
#[derive(Message)]
#[rtype(result = "()")]
struct Loaded(Result<Arc<Keyring>, Arc<SealedError>>);

impl Handler<Loaded> for Actor {
    fn handle(&mut self, Loaded(keys): &Loaded, _: &Me<Self>) -> Reply<()> {
        let trouble = match keys {
            Ok(keyring) => {
                self.kept.set(Arc::clone(keyring));
                None
            }
            Err(error) => Some(Arc::clone(error)),
        };
        // Said once, not at every attempt.
        let sentence = |trouble: &Option<Arc<SealedError>>| trouble.as_ref().map(|e| e.sentence());
        let (before, now) = (sentence(&self.trouble), sentence(&trouble));
        match now {
            Some(now) if before.as_ref() != Some(&now) => {
                log::warn!("token keys cannot be read: {now}")
            }
            None if before.is_some() => log::info!("token keys can be read again"),
            _ => {}
        }
        self.trouble = trouble;
        ().into()
    }
}

impl Handler<Mint> for Actor {
    fn handle(&mut self, mint: &Mint, _: &Me<Self>) -> Reply<Result<Minted, TokensError>> {
        let minted = self.keyring().and_then(|keys| authority::mint(&keys, self.side, mint));
        minted.into()
    }
}

impl Handler<Verify> for Actor {
    fn handle(&mut self, ask: &Verify, _: &Me<Self>) -> Reply<Result<Claims, TokensError>> {
        let claims = self.keyring().and_then(|keys| {
            let macaroon = ask.macaroon.as_ref().ok_or(TokensError::Invalid)?;
            let verified = authority::verify(&keys, self.side, macaroon, SystemTime::now())?;
            verified.permit(ask.op, ask.session.as_ref())
        });
        claims.into()
    }
}

impl Handler<Ready> for Actor {
    fn handle(&mut self, _: &Ready, _: &Me<Self>) -> Reply<Result<(), TokensError>> {
        self.keyring().map(drop).into()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::OnceLock;

    use actix::System;
    use stream_pki::Authority;
    use stream_protocol::{Op, TokenKind};
    use stream_supervisor::{Limits, Restart, Supervisor};

    use super::*;
    use crate::Tokens;
    use crate::keyring::tests::of;

    /// A node whose NATS is away: nothing listens on port 1.
    struct Node {
        directory: tempfile::TempDir,
        supervisor: Supervisor,
        bridge: Bridge,
    }

    impl Node {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let file = |name: &str, text: &str| {
                let path = directory.path().join(name);
                fs::write(&path, text).unwrap();
                path
            };
            let nats = stream_bridge::Config {
                servers: vec!["tls://127.0.0.1:1".into()],
                ca: file("ca.pem", ca_pem()),
                token: Some(file("nats.token", &"t".repeat(32))),
                credentials: None,
                certificate: None,
                key: None,
                replicas: 1,
            };
            file("sealing.key", &"s".repeat(32));
            file("root.key", &"r".repeat(64));
            let supervisor = Supervisor::default();
            let bridge = Bridge::start(nats, "test", &supervisor).unwrap();
            Self { directory, supervisor, bridge }
        }

        fn config(&self) -> Config {
            let path = |name| self.directory.path().join(name);
            Config {
                sealing_key: path("sealing.key"),
                first_root_key: path("root.key"),
                state: path("state"),
            }
        }

        /// Starts the authority with the keys it had before, if any.
        fn start_with(&self, kept: Kept) -> Tokens {
            let (config, bridge) = (self.config(), self.bridge.clone());
            let seal = Arc::new(Seal::load(&config.sealing_key).unwrap());
            let factory = move || {
                let (config, bridge) = (config.clone(), bridge.clone());
                Actor::new(config, Side::Agent, bridge, Arc::clone(&seal), kept.clone())
            };
            let (restart, limits) = (Restart::default(), Limits::default());
            Tokens(self.supervisor.guard("tokens", restart, limits, factory))
        }
    }

    /// Made once: the key takes a second or more.
    fn ca_pem() -> &'static str {
        static PEM: OnceLock<String> = OnceLock::new();
        PEM.get_or_init(|| Authority::generate("test").unwrap().certificate_pem())
    }

    fn account() -> Mint {
        Mint {
            kind: TokenKind::Account,
            subject: "my-client".into(),
            session: None,
            role: None,
            generation: None,
            expires: None,
        }
    }

    #[test]
    fn until_the_keys_are_here_nothing_is_called_invalid() {
        System::new().block_on(async {
            let node = Node::new();
            let (bridge, supervisor) = (node.bridge.clone(), &node.supervisor);
            let tokens = Tokens::start(node.config(), Side::Agent, bridge, supervisor).unwrap();
            let garbage = tokens.verify("garbage", Op::SessionRead, None).await;
            assert!(matches!(garbage, Err(TokensError::NotReady(_))), "{garbage:?}");
            let minted = tokens.mint(account()).await;
            assert!(matches!(minted, Err(TokensError::NotReady(_))), "{minted:?}");
            let ready = tokens.ready().await;
            assert!(matches!(ready, Err(TokensError::NotReady(_))), "{ready:?}");
            supervisor.stop();
        });
    }

    #[test]
    fn a_crash_loses_no_keys_even_while_nats_is_away() {
        System::new().block_on(async {
            let node = Node::new();
            let kept = Kept::default();
            kept.set(Arc::new(of(b"k")));
            let tokens = node.start_with(kept);
            let minted = tokens.mint(account()).await.unwrap();
            assert!(node.supervisor.crash("tokens"));
            tokens.ready().await.unwrap();
            let claims = tokens.verify(&minted.token, Op::SessionRead, None).await.unwrap();
            assert_eq!(claims.id, minted.id);
            let garbage = tokens.verify("garbage", Op::SessionRead, None).await;
            assert!(matches!(garbage, Err(TokensError::Invalid)), "{garbage:?}");
            node.supervisor.stop();
        });
    }

    #[test]
    fn keys_that_are_here_stay_when_they_cannot_be_read_again() {
        System::new().block_on(async {
            let node = Node::new();
            let tokens = node.start_with(Kept::default());
            tokens.0.tell(Loaded(Ok(Arc::new(of(b"k"))))).unwrap();
            tokens.ready().await.unwrap();
            let trouble = SealedError::CannotUnseal { name: "agent.root".into() };
            tokens.0.tell(Loaded(Err(Arc::new(trouble)))).unwrap();
            tokens.ready().await.unwrap();
            node.supervisor.stop();
        });
    }

    #[test]
    fn a_short_or_missing_sealing_key_stops_the_start() {
        System::new().block_on(async {
            let node = Node::new();
            let start = || {
                let (bridge, supervisor) = (node.bridge.clone(), &node.supervisor);
                Tokens::start(node.config(), Side::Agent, bridge, supervisor).err()
            };
            fs::write(node.config().sealing_key, "short").unwrap();
            assert!(matches!(start(), Some(TokensError::Config(_))));
            fs::remove_file(node.config().sealing_key).unwrap();
            assert!(matches!(start(), Some(TokensError::Config(_))));
            node.supervisor.stop();
        });
    }
}
