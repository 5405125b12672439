//! The actor: what is known now of root keys and revocations, and the loops that keep it so.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use actix::Message;
use stream_bridge::{Bridge, BridgeError, SealedError, follow_sealed};
use stream_pki::Seal;
use stream_supervisor::{Context, Handler, Reply, Worker};
use tokio::time::timeout_at;

use crate::keyring::Keyring;
use crate::leased::Leased;
use crate::revocation_list::{self, RevocationList};
use crate::{Claims, Config, Mint, Minted, Ready, Service, TokensError, Verify, authority};

/// How long after the start whoever asks waits for what is read first.
const FIRST_READ: Duration = Duration::from_secs(5);

/// What was read last. Outlives a crash of the actor.
#[derive(Clone)]
pub(crate) struct SharedState {
    pub(crate) keys: Leased<Keyring>,
    pub(crate) revoked: Leased<RevocationList>,
    read_state: revocation_list::ReadState,
    started: Instant,
}

impl Default for SharedState {
    fn default() -> Self {
        Self {
            keys: Leased::default(),
            revoked: Leased::default(),
            read_state: revocation_list::ReadState::default(),
            started: Instant::now(),
        }
    }
}

impl SharedState {
    /// Returns when keys and revocations have been read once, or some seconds after the start.
    pub(crate) async fn first_read(&self) {
        if self.keys.is_some() && self.revoked.is_some() {
            return;
        }
        let read = async {
            self.keys.wait_for(|_| true).await;
            self.revoked.wait_for(|_| true).await;
        };
        // Later they are refused with the reason.
        let _ = timeout_at((self.started + FIRST_READ).into(), read).await;
    }
}

pub(crate) struct Actor {
    pub(crate) config: Config,
    pub(crate) service: Service,
    pub(crate) bridge: Bridge,
    pub(crate) seal: Arc<Seal>,
    shared: SharedState,
    /// Why the keys could not be read the last time.
    keys_error: Option<Arc<SealedError>>,
    /// Why the revocations could not be read the last time.
    revocations_error: Option<BridgeError>,
}

impl Actor {
    pub(crate) fn new(
        config: Config,
        service: Service,
        bridge: Bridge,
        seal: Arc<Seal>,
        shared: SharedState,
    ) -> Self {
        Self { config, service, bridge, seal, shared, keys_error: None, revocations_error: None }
    }

    /// What is known, unless it is missing or too old to count.
    pub(crate) fn known(&self) -> Result<(Arc<Keyring>, Arc<RevocationList>), TokensError> {
        let now = Instant::now();
        let unread = |what: &str| TokensError::NotReady(format!("{what} not been read yet"));
        let keys = self.shared.keys.get(now).ok_or_else(|| match self.keys_error.as_deref() {
            None => unread("the root keys have"),
            Some(error) => error.into(),
        })?;
        let revoked =
            self.shared.revoked.get(now).ok_or_else(|| match &self.revocations_error {
                None => unread("what is revoked has"),
                Some(error) => TokensError::NotReady(error.to_string()),
            })?;
        Ok((keys, revoked))
    }
}

impl Worker for Actor {
    fn started(&mut self, ctx: &Context<Self>) {
        let (config, bridge) = (self.config.clone(), self.bridge.clone());
        let (seal, name) = (Arc::clone(&self.seal), self.service.record());
        let told = ctx.clone();
        ctx.spawn(async move {
            let first = || Keyring::first(&config.first_root_key);
            let tell =
                |keys: Result<_, _>| told.tell(KeysRead(keys.map(Arc::new).map_err(Arc::new)));
            follow_sealed(&bridge, &seal, name, first, &config.state, tell).await;
        });
        let (bridge, read_state, told) =
            (self.bridge.clone(), self.shared.read_state.clone(), ctx.clone());
        ctx.spawn(async move {
            revocation_list::follow(&bridge, &read_state, |read| told.tell(RevocationsRead(read)))
                .await;
        });
    }
}

/// The sealed keys were read, or could not be.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct KeysRead(pub(crate) Result<Arc<Keyring>, Arc<SealedError>>);

/// What is revoked was read, or could not be.
#[derive(Message)]
#[rtype(result = "()")]
struct RevocationsRead(Result<Arc<RevocationList>, BridgeError>);

impl Handler<KeysRead> for Actor {
    fn handle(&mut self, KeysRead(keys): &KeysRead, _: &Context<Self>) -> Reply<()> {
        let error = keys.as_ref().err().cloned();
        if let Ok(keys) = keys {
            self.shared.keys.set(Arc::clone(keys), Instant::now());
        }
        let sentence = |error: &Option<Arc<SealedError>>| error.as_ref().map(|e| e.sentence());
        report("the root keys", sentence(&self.keys_error), sentence(&error));
        self.keys_error = error;
        ().into()
    }
}

impl Handler<RevocationsRead> for Actor {
    fn handle(&mut self, RevocationsRead(read): &RevocationsRead, _: &Context<Self>) -> Reply<()> {
        let error = read.as_ref().err().cloned();
        if let Ok(revoked) = read {
            self.shared.revoked.set(Arc::clone(revoked), Instant::now());
        }
        let sentence = |error: &Option<BridgeError>| error.as_ref().map(|e| e.to_string());
        report("what is revoked", sentence(&self.revocations_error), sentence(&error));
        self.revocations_error = error;
        ().into()
    }
}

/// Says once, not at every attempt, that something cannot be read.
fn report(what: &str, before: Option<String>, now: Option<String>) {
    match now {
        Some(now) if before.as_ref() != Some(&now) => {
            log::warn!("tokens: {what} cannot be read: {now}")
        }
        None if before.is_some() => log::info!("tokens: {what} can be read again"),
        _ => {}
    }
}

impl Handler<Mint> for Actor {
    fn handle(&mut self, mint: &Mint, _: &Context<Self>) -> Reply<Result<Minted, TokensError>> {
        let minted = self.known().and_then(|(keys, revoked)| {
            authority::mint(&keys, &revoked, self.service, mint, SystemTime::now())
        });
        minted.into()
    }
}

/// Makes a token with the id of an earlier one.
#[derive(Message)]
#[rtype(result = "Result<Minted, TokensError>")]
pub(crate) struct MintWithId {
    pub(crate) id: String,
    pub(crate) mint: Mint,
}

impl Handler<MintWithId> for Actor {
    fn handle(
        &mut self,
        ask: &MintWithId,
        _: &Context<Self>,
    ) -> Reply<Result<Minted, TokensError>> {
        let minted = self.known().and_then(|(keys, revoked)| {
            let now = SystemTime::now();
            authority::mint_with_id(&keys, &revoked, self.service, &ask.id, &ask.mint, now)
        });
        minted.into()
    }
}

/// Makes a token like an earlier one, with another end.
#[derive(Message)]
#[rtype(result = "Result<Minted, TokensError>")]
pub(crate) struct Renew {
    pub(crate) claims: Claims,
    pub(crate) expires: SystemTime,
}

impl Handler<Renew> for Actor {
    fn handle(&mut self, ask: &Renew, _: &Context<Self>) -> Reply<Result<Minted, TokensError>> {
        let minted = self.known().and_then(|(keys, revoked)| {
            let now = SystemTime::now();
            authority::renew(&keys, &revoked, self.service, &ask.claims, ask.expires, now)
        });
        minted.into()
    }
}

impl Handler<Verify> for Actor {
    fn handle(&mut self, ask: &Verify, _: &Context<Self>) -> Reply<Result<Claims, TokensError>> {
        let claims = self.known().and_then(|(keys, revoked)| {
            let macaroon = ask.macaroon.as_ref().ok_or(TokensError::Invalid)?;
            let now = SystemTime::now();
            let verified = authority::verify(&keys, &revoked, self.service, macaroon, now);
            verified.map_err(|_| TokensError::Invalid)?.authorize(ask.op, ask.session.as_ref())
        });
        claims.into()
    }
}

impl Handler<Ready> for Actor {
    fn handle(&mut self, _: &Ready, _: &Context<Self>) -> Reply<Result<(), TokensError>> {
        self.known().map(drop).into()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::OnceLock;
    use std::time::Duration;

    use actix::System;
    use futures_util::FutureExt;
    use stream_pki::Authority;
    use stream_protocol::{Op, TokenKind};
    use stream_supervisor::Supervisor;

    use super::*;
    use crate::keyring::tests::of;
    use crate::{Revocation, Tokens};

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

        /// Starts the authority with what it had read before, if anything.
        fn start_with(&self, shared: SharedState) -> Tokens {
            let (config, bridge) = (self.config(), self.bridge.clone());
            let seal = Arc::new(Seal::load(&config.sealing_key).unwrap());
            Tokens::start_with(shared, seal, config, Service::Agent, bridge, &self.supervisor)
        }
    }

    /// What an authority knows that has read it `age` ago.
    fn shared(age: Duration) -> SharedState {
        let shared = SharedState::default();
        let at = Instant::now().checked_sub(age).expect("the machine is up for longer");
        shared.keys.set(Arc::new(of(b"k")), at);
        shared.revoked.set(Arc::default(), at);
        shared
    }

    /// Made once: the key takes a second or more.
    fn ca_pem() -> &'static str {
        static PEM: OnceLock<String> = OnceLock::new();
        PEM.get_or_init(|| Authority::generate("test").unwrap().certificate_pem())
    }

    fn account() -> Mint {
        Mint::new(TokenKind::Account, "my-client")
    }

    #[test]
    fn until_the_keys_are_here_nothing_is_called_invalid() {
        System::new().block_on(async {
            let node = Node::new();
            let (bridge, supervisor) = (node.bridge.clone(), &node.supervisor);
            let tokens = Tokens::start(node.config(), Service::Agent, bridge, supervisor).unwrap();
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
            let tokens = node.start_with(shared(Duration::ZERO));
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
    fn what_is_here_stays_when_it_cannot_be_read_again() {
        System::new().block_on(async {
            let node = Node::new();
            let tokens = node.start_with(shared(Duration::ZERO));
            let error = SealedError::CannotUnseal { name: "agent.root".into() };
            tokens.mailbox.tell(KeysRead(Err(Arc::new(error)))).unwrap();
            let away = BridgeError::Disconnected("nobody there".into());
            tokens.mailbox.tell(RevocationsRead(Err(away))).unwrap();
            tokens.ready().await.unwrap();
            node.supervisor.stop();
        });
    }

    #[test]
    fn a_unit_that_was_cut_off_for_a_minute_opens_nothing_new() {
        System::new().block_on(async {
            let node = Node::new();
            let token =
                node.start_with(shared(Duration::ZERO)).mint(account()).await.unwrap().token;
            let tokens = node.start_with(shared(Duration::from_secs(60)));
            let refused = tokens.verify(&token, Op::SessionRead, None).await;
            assert!(matches!(refused, Err(TokensError::NotReady(_))), "{refused:?}");
            let minted = tokens.mint(account()).await;
            assert!(matches!(minted, Err(TokensError::NotReady(_))), "{minted:?}");

            tokens.mailbox.tell(KeysRead(Ok(Arc::new(of(b"k"))))).unwrap();
            let halfway = tokens.ready().await;
            assert!(matches!(halfway, Err(TokensError::NotReady(_))), "{halfway:?}");
            tokens.mailbox.tell(RevocationsRead(Ok(Arc::default()))).unwrap();
            tokens.verify(&token, Op::SessionRead, None).await.unwrap();
            node.supervisor.stop();
        });
    }

    #[test]
    fn the_holder_of_what_is_revoked_is_told() {
        System::new().block_on(async {
            let node = Node::new();
            let shared = shared(Duration::ZERO);
            let tokens = node.start_with(shared.clone());
            let minted = tokens.mint(account()).await.unwrap();
            let claims = tokens.verify(&minted.token, Op::SessionRead, None).await.unwrap();
            let told = tokens.revoked(&claims);
            let mut told = std::pin::pin!(told);
            let other = revocation_list::tests::of(&[Revocation::Account("somebody-else".into())]);
            shared.revoked.set(Arc::new(other), Instant::now());
            assert!(told.as_mut().now_or_never().is_none(), "it is somebody else's");
            let revoked = revocation_list::tests::of(&[Revocation::Token(minted.id)]);
            shared.revoked.set(Arc::new(revoked), Instant::now());
            assert!(told.now_or_never().is_some());
            node.supervisor.stop();
        });
    }

    #[test]
    fn a_short_or_missing_sealing_key_stops_the_start() {
        System::new().block_on(async {
            let node = Node::new();
            let start = || {
                let (bridge, supervisor) = (node.bridge.clone(), &node.supervisor);
                Tokens::start(node.config(), Service::Agent, bridge, supervisor).err()
            };
            fs::write(node.config().sealing_key, "short").unwrap();
            assert!(matches!(start(), Some(TokensError::Config(_))));
            fs::remove_file(node.config().sealing_key).unwrap();
            assert!(matches!(start(), Some(TokensError::Config(_))));
            node.supervisor.stop();
        });
    }
}
