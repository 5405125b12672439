//! The actor: what is known now of root keys and revocations, and the loops that keep it so.

use std::sync::Arc;
use std::time::Duration;

use actix::Message;
use stream_bridge::{Bridge, BridgeError, OneTimeSecret, SealedError, SealedRecord};
use stream_protocol::Timestamp;
use stream_supervisor::{Context, Handler, Reply, Worker};
use tokio::time::{Instant, timeout_at};

use crate::keyring::Keyring;
use crate::leased::Leased;
use crate::revocation_list::{self, ReadState, RevocationList};
use crate::watchers::{News, Watchers};
use crate::{Claims, GetKnown, Mint, Minted, Service, TokensError, authority};

/// How long after the start a caller waits for the first read before it is refused.
const FIRST_READ: Duration = Duration::from_secs(5);

/// What was read last. Every rebuilt actor and the handle share it.
#[derive(Clone)]
pub(crate) struct SharedState {
    pub(crate) keys: Leased<Keyring>,
    pub(crate) revoked: Leased<RevocationList>,
    pub(crate) watchers: Watchers,
    read_state: ReadState,
    started: Instant,
}

impl Default for SharedState {
    fn default() -> Self {
        Self {
            keys: Leased::default(),
            revoked: Leased::default(),
            watchers: Watchers::default(),
            read_state: ReadState::default(),
            started: Instant::now(),
        }
    }
}

impl SharedState {
    /// Returns keys and revocations, unless one is missing or too old to count at `now`.
    pub(crate) fn known(&self, now: Instant) -> Option<(Arc<Keyring>, Arc<RevocationList>)> {
        self.keys.get(now).zip(self.revoked.get(now))
    }

    /// Takes what is revoked, and has those look again who wait for what is new in it.
    fn learn(&self, revoked: Arc<RevocationList>, news: &News) {
        self.revoked.set(revoked, Instant::now());
        self.watchers.wake(news);
    }

    /// Waits until keys and revocations have been read once, but not beyond some seconds after the
    /// start.
    pub(crate) async fn first_read(&self) {
        if self.keys.is_some() && self.revoked.is_some() {
            return;
        }
        let read = async {
            self.keys.wait_for(|_| true).await;
            self.revoked.wait_for(|_| true).await;
        };
        // The actor refuses with the reason then.
        let _ = timeout_at(self.started + FIRST_READ, read).await;
    }
}

pub(crate) struct Actor {
    pub(crate) service: Service,
    pub(crate) bridge: Bridge,
    pub(crate) record: SealedRecord<Keyring>,
    first_root_key: OneTimeSecret,
    pub(crate) shared: SharedState,
    /// Why the keys could not be read the last time.
    keys_error: Option<Arc<SealedError>>,
    /// Why the revocations could not be read the last time.
    revocations_error: Option<BridgeError>,
}

impl Actor {
    pub(crate) fn new(
        service: Service,
        bridge: Bridge,
        record: SealedRecord<Keyring>,
        first_root_key: OneTimeSecret,
        shared: SharedState,
    ) -> Self {
        let (keys_error, revocations_error) = (None, None);
        Self { service, bridge, record, first_root_key, shared, keys_error, revocations_error }
    }

    /// Returns the actor that takes over when this one fails.
    pub(crate) fn rebuilt(&self) -> Self {
        let (bridge, record) = (self.bridge.clone(), self.record.clone());
        let (first_root_key, shared) = (self.first_root_key.clone(), self.shared.clone());
        Self::new(self.service, bridge, record, first_root_key, shared)
    }

    /// Returns keys and revocations, unless one is missing or too old to count.
    pub(crate) fn known(&self) -> Result<(Arc<Keyring>, Arc<RevocationList>), TokensError> {
        let now = Instant::now();
        self.shared.known(now).ok_or_else(|| {
            let unread = |what: &str| TokensError::NotReady(format!("{what} not been read yet"));
            match (self.shared.keys.get(now), &self.keys_error, &self.revocations_error) {
                (None, None, _) => unread("the root keys have"),
                (None, Some(error), _) => (&**error).into(),
                (Some(_), _, None) => unread("what is revoked has"),
                (Some(_), _, Some(error)) => TokensError::NotReady(error.to_string()),
            }
        })
    }
}

impl Worker for Actor {
    fn started(&mut self, ctx: &Context<Self>) {
        let (record, first_root_key) = (self.record.clone(), self.first_root_key.clone());
        let told = ctx.clone();
        ctx.spawn(async move {
            let first = || Keyring::first(first_root_key.path());
            record.watch(first, |keys| told.tell(KeysRead(keys.map(Arc::new)))).await;
        });
        let (bridge, read_state) = (self.bridge.clone(), self.shared.read_state.clone());
        let (told, shared) = (ctx.clone(), self.shared.clone());
        ctx.spawn(async move {
            let on_read = |read: Result<(Arc<RevocationList>, News), _>| {
                // Here, so that no failure of the actor comes between: what is new is told once.
                let read = read.map(|(revoked, news)| shared.learn(revoked, &news));
                told.tell(RevocationsRead(read));
            };
            revocation_list::follow(&bridge, &read_state, on_read).await;
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
struct RevocationsRead(Result<(), BridgeError>);

impl Handler<KeysRead> for Actor {
    fn handle(&mut self, KeysRead(keys): &KeysRead, _: &Context<Self>) -> Reply<()> {
        self.keys_error = keys.as_ref().err().cloned();
        if let Ok(keys) = keys {
            self.shared.keys.set(Arc::clone(keys), Instant::now());
            self.first_root_key.settle(|path| keys.holds(path));
        }
        ().into()
    }
}

impl Handler<RevocationsRead> for Actor {
    fn handle(&mut self, RevocationsRead(read): &RevocationsRead, _: &Context<Self>) -> Reply<()> {
        let error = read.as_ref().err();
        // That NATS is away is told by the bridge.
        let told = |error: &&BridgeError| !matches!(error, BridgeError::Disconnected(_));
        let sentence = |error: &BridgeError| error.to_string();
        let before = self.revocations_error.as_ref().filter(told).map(sentence);
        let now = error.filter(told).map(sentence);
        // Said once, not at every attempt.
        match now {
            Some(now) if before.as_ref() != Some(&now) => {
                log::warn!(cause:% = now; "tokens: what is revoked cannot be read")
            }
            None if before.is_some() && error.is_none() => {
                log::info!("tokens: what is revoked can be read again");
            }
            _ => {}
        }
        self.revocations_error = error.cloned();
        ().into()
    }
}

impl Handler<Mint> for Actor {
    fn handle(&mut self, mint: &Mint, _: &Context<Self>) -> Reply<Result<Minted, TokensError>> {
        let minted = self.known().and_then(|(keys, revoked)| {
            authority::mint(&keys, &revoked, self.service, mint, self.bridge.now())
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
            let now = self.bridge.now();
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
    pub(crate) expires: Timestamp,
}

impl Handler<Renew> for Actor {
    fn handle(&mut self, ask: &Renew, _: &Context<Self>) -> Reply<Result<Minted, TokensError>> {
        let minted = self.known().and_then(|(keys, revoked)| {
            let now = self.bridge.now();
            authority::renew(&keys, &revoked, self.service, &ask.claims, ask.expires, now)
        });
        minted.into()
    }
}

impl Handler<GetKnown> for Actor {
    fn handle(
        &mut self,
        _: &GetKnown,
        _: &Context<Self>,
    ) -> Reply<Result<(Arc<Keyring>, Arc<RevocationList>), TokensError>> {
        self.known().into()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::OnceLock;
    use std::time::Duration;

    use actix::System;
    use futures_util::FutureExt;
    use stream_pki::{Authority, Seal};
    use stream_protocol::{Op, TokenKind};
    use stream_supervisor::Supervisor;

    use super::*;
    use crate::keyring::tests::of;
    use crate::{Config, Revocation, Tokens};

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
                stream_pki::write_new(&path, text.as_bytes(), 0o600).unwrap();
                path
            };
            let nats = stream_bridge::Config {
                servers: vec!["tls://127.0.0.1:1".into()],
                ca: file("ca.pem", ca_pem()),
                token: Some(file("nats.token", &"t".repeat(32))),
                credentials: None,
                nkey: None,
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
            let (config, bridge, service) = (self.config(), self.bridge.clone(), Service::Agent);
            let seal = Arc::new(Seal::load(&config.sealing_key).unwrap());
            let (bucket, name) = (service.keys(), service.record());
            let record = SealedRecord::new(bridge.clone(), seal, bucket, name, &config.state);
            let first_root_key = OneTimeSecret::new(config.first_root_key);
            let actor = Actor::new(service, bridge, record, first_root_key, shared);
            Tokens::start_actor(actor, &self.supervisor)
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
            let shared = shared(Duration::from_secs(60));
            let tokens = node.start_with(shared.clone());
            let refused = tokens.verify(&token, Op::SessionRead, None).await;
            assert!(matches!(refused, Err(TokensError::NotReady(_))), "{refused:?}");
            let minted = tokens.mint(account()).await;
            assert!(matches!(minted, Err(TokensError::NotReady(_))), "{minted:?}");

            tokens.mailbox.tell(KeysRead(Ok(Arc::new(of(b"k"))))).unwrap();
            let halfway = tokens.ready().await;
            assert!(matches!(halfway, Err(TokensError::NotReady(_))), "{halfway:?}");
            shared.learn(Arc::default(), &News::Whole);
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
            let added = |revocation: &Revocation| News::Added(vec![revocation.key().unwrap()]);
            let of = |revocation: Revocation| {
                let list = revocation_list::tests::of(std::slice::from_ref(&revocation));
                shared.learn(Arc::new(list), &added(&revocation));
            };
            of(Revocation::Account("somebody-else".into()));
            assert!(told.as_mut().now_or_never().is_none(), "it is somebody else's");
            of(Revocation::Token(minted.id));
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
