//! The token authority: mints and verifies macaroons; the root keys never leave this crate.
//!
//! Owns the root keys of one service, agent or gateway, which all its units share, and what is
//! revoked on both. Asked by `sessions`, `api` and `gateway`; asks the bridge for the sealed keys
//! and the revocations. Until it has them, and again when it has read neither for a minute, every
//! question is answered [`TokensError::NotReady`], never that a token is bad. A restart loses
//! nothing: what was read outlives it.

mod actor;
mod admin;
mod admin_handlers;
mod attenuate;
mod authority;
mod caveats;
mod error;
mod identifier;
mod inspect;
mod keyring;
mod leased;
mod revocation_list;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use actix::Message;
use serde::{Deserialize, Serialize};
use stream_bridge::Bridge;
use stream_macaroon::Macaroon;
use stream_pki::Seal;
use stream_protocol::{Op, Role, SessionId, TokenKind};
use stream_supervisor::{Limits, Mailbox, Mode, RestartPolicy, Supervisor};
use zeroize::Zeroizing;

pub use admin::{Created, Request};
pub use attenuate::{AttenuateError, attenuate};
pub use caveats::{GRAMMAR, Restrictions};
pub use error::TokensError;
pub use inspect::{Inspection, explain};
pub use revocation_list::{Revocation, socket_of_account};

use actor::{Actor, MintWithId, Renew, SharedState};
use admin_handlers::{Inspect, Keys, Retire, Revoke, Rotate, Unrevoke};
use identifier::Identifier;

/// How long before a new root key signs: longer than any unit goes on without reading the keys, and
/// as long again for clocks that differ.
pub const LEAD: Duration = Duration::from_secs(120);

/// How long a unit may take to learn what it has revoked itself.
const LEARN: Duration = Duration::from_secs(5);

/// Where the secrets of the authority are.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// File with the key under which the units of this service seal the root keys in NATS, and those
    /// of TLS session tickets; text of at least 32 bytes, the same on all nodes.
    pub sealing_key: PathBuf,
    /// File with the first root key, text of at least 64 bytes. Used once, by the first unit that
    /// finds no root keys in NATS; need not exist on the others.
    pub first_root_key: PathBuf,
    /// Directory for the highest generation of the root keys seen so far.
    pub state: PathBuf,
}

impl Config {
    /// Refuses a secret file that is empty, short or unreadable, and a missing sealing key.
    pub fn check(&self) -> Result<(), TokensError> {
        Seal::load(&self.sealing_key)?;
        Ok(keyring::check_first(&self.first_root_key)?)
    }
}

/// Which of the two services this is: tokens of one mean nothing to the other.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Service {
    Agent,
    Gateway,
}

impl Service {
    /// The location in every token of this service.
    pub fn location(self) -> &'static str {
        match self {
            Self::Agent => "anbox-stream-agent",
            Self::Gateway => "anbox-stream-gateway",
        }
    }

    /// The record that holds the root keys of this service.
    fn record(self) -> &'static str {
        match self {
            Self::Agent => "agent.root",
            Self::Gateway => "gateway.root",
        }
    }
}

/// A token to be made: it allows what its kind allows, as far as the rest leaves that.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<Minted, TokensError>")]
pub struct Mint {
    kind: TokenKind,
    subject: String,
    restrictions: Restrictions,
}

impl Mint {
    /// Begins a token of this kind that is bound to nothing and never ends.
    ///
    /// A subject is 1 to 80 characters of `A-Za-z0-9_.:@-`. Tokens of instances, shares and sockets
    /// must be bound to a session.
    pub fn new(kind: TokenKind, subject: impl Into<String>) -> Self {
        let ops = kind.ops().iter().copied().collect();
        let restrictions = Restrictions { ops, ..Restrictions::default() };
        Self { kind, subject: subject.into(), restrictions }
    }

    /// Binds it to one session.
    pub fn session(mut self, session: impl Into<Option<SessionId>>) -> Self {
        self.restrictions.session = session.into();
        self
    }

    /// Binds it to one role.
    pub fn role(mut self, role: impl Into<Option<Role>>) -> Self {
        self.restrictions.role = role.into();
        self
    }

    /// Binds it to one generation of its session.
    pub fn generation(mut self, generation: impl Into<Option<u64>>) -> Self {
        self.restrictions.generation = generation.into();
        self
    }

    /// Ends it at `expires`, to the second.
    pub fn expires(mut self, expires: impl Into<Option<SystemTime>>) -> Self {
        self.restrictions.expires = expires.into();
        self
    }
}

/// A fresh token.
pub struct Minted {
    /// The token itself: who has it may use it.
    pub token: Zeroizing<String>,
    /// By which it can be revoked; no secret.
    pub id: String,
}

impl fmt::Debug for Minted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Minted").field("token", &"[redacted]").field("id", &self.id).finish()
    }
}

/// What a verified token says of its bearer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Claims {
    pub id: String,
    pub kind: TokenKind,
    pub subject: String,
    pub restrictions: Restrictions,
}

/// A root key, as far as it may be shown.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct KeyInfo {
    pub kid: String,
    /// Unix seconds.
    pub created_at: u64,
    /// Unix seconds; it signs nothing before.
    pub active_from: u64,
    pub state: KeyState,
}

/// What a root key does beside verifying.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    /// Signs new tokens.
    Active,
    /// Signs nothing any more.
    Old,
    /// Is to sign new tokens once all units know it.
    Pending,
}

/// The address of the authority.
#[derive(Clone)]
pub struct Tokens {
    mailbox: Mailbox<Actor>,
    shared: SharedState,
}

impl Tokens {
    /// Starts the actor; it gets the root keys in the background. Refuses when a secret file is
    /// empty, short or unreadable, or the sealing key is missing.
    pub fn start(
        config: Config,
        service: Service,
        bridge: Bridge,
        supervisor: &Supervisor,
    ) -> Result<Self, TokensError> {
        config.check()?;
        let seal = Arc::new(Seal::load(&config.sealing_key)?);
        Ok(Self::start_with(SharedState::default(), seal, config, service, bridge, supervisor))
    }

    fn start_with(
        shared: SharedState,
        seal: Arc<Seal>,
        config: Config,
        service: Service,
        bridge: Bridge,
        supervisor: &Supervisor,
    ) -> Self {
        let known = shared.clone();
        let factory = move || {
            let (config, bridge) = (config.clone(), bridge.clone());
            Actor::new(config, service, bridge, Arc::clone(&seal), known.clone())
        };
        let (restart, limits) = (RestartPolicy::default(), Limits::default());
        Self {
            mailbox: supervisor.spawn("tokens", Mode::CancelOnRestart, restart, limits, factory),
            shared,
        }
    }

    /// Returns a fresh token. Refuses a subject that is none, an account that is revoked, and an
    /// instance or socket without a session.
    pub async fn mint(&self, mint: Mint) -> Result<Minted, TokensError> {
        self.mailbox.ask(mint).await?
    }

    /// Returns another token with the id of an earlier one: what revokes one revokes both.
    pub async fn mint_with_id(&self, id: &str, mint: Mint) -> Result<Minted, TokensError> {
        self.mailbox.ask(MintWithId { id: id.to_owned(), mint }).await?
    }

    /// Returns a token that allows what the one of `claims` does, but until `expires`, and that is
    /// revoked with it.
    pub async fn renew(&self, claims: &Claims, expires: SystemTime) -> Result<Minted, TokensError> {
        self.mailbox.ask(Renew { claims: claims.clone(), expires }).await?
    }

    /// Returns what `token` says, if it allows `op`, on `session` if one is given.
    ///
    /// A token that is bound to a session opens only that one, and nothing outside of sessions; one
    /// of an account or of AMS that is bound to none opens all. Whether the account still exists,
    /// and what `role` and `generation` mean, is for the caller. A unit that has just been started
    /// waits a few seconds for what it needs, rather than refuse who was sent to it.
    pub async fn verify(
        &self,
        token: &str,
        op: Op,
        session: Option<&SessionId>,
    ) -> Result<Claims, TokensError> {
        self.shared.first_read().await;
        // Read here, so that a text of any length goes no further.
        let macaroon = Macaroon::decode(token).ok();
        self.mailbox.ask(Verify { macaroon, op, session: session.cloned() }).await?
    }

    /// Returns once the token of `claims` is revoked: what it has opened is to be closed then.
    pub async fn revoked(&self, claims: &Claims) {
        let Claims { id, kind, subject, restrictions } = claims;
        let identifier = Identifier { kid: "", id, kind: *kind, subject };
        let session = restrictions.session.as_ref().map(SessionId::as_str);
        self.shared.revoked.wait_for(|revoked| revoked.covers(&identifier, session)).await;
    }

    /// Revokes tokens on all units, within a second where NATS is connected. `until` is when the
    /// last of them ends by itself, if that is known: the record is kept a little longer. Refuses
    /// what names no token and no account. An error may leave them revoked all the same.
    pub async fn revoke(
        &self,
        revocation: Revocation,
        until: Option<SystemTime>,
    ) -> Result<(), TokensError> {
        let life = revocation_list::record_ttl(until, SystemTime::now());
        self.mailbox.ask(Revoke { revocation: revocation.clone(), life }).await??;
        // So that who has revoked a token does not meet it here again. Units that cannot learn it
        // refuse every token soon.
        let learnt = self.shared.revoked.wait_for(|revoked| revoked.has(&revocation));
        let _ = tokio::time::timeout(LEARN, learnt).await;
        Ok(())
    }

    /// Revokes all tokens bound to a session that has ended. It is remembered nearly as long as the
    /// session's document stays, which is an hour, or, if it is `kept`, until it is unrevoked; what the
    /// tokens opened is gone with that.
    pub async fn session_ended(&self, id: &SessionId, kept: bool) -> Result<(), TokensError> {
        let revocation = Revocation::Session(id.clone());
        let life = (!kept).then_some(revocation_list::ENDED_SESSION_TTL);
        self.mailbox.ask(Revoke { revocation, life }).await?
    }

    /// Takes a revocation back, on all units within about a minute.
    pub async fn unrevoke(&self, revocation: Revocation) -> Result<(), TokensError> {
        self.mailbox.ask(Unrevoke(revocation)).await?
    }

    /// Adds a root key that signs all new tokens from `lead` on; the others go on verifying.
    /// Returns it. With less than [`LEAD`] a unit may refuse new tokens until it has read the key,
    /// within a second where NATS is connected. Refuses while another new key is not in force yet.
    pub async fn rotate(&self, lead: Duration) -> Result<KeyInfo, TokensError> {
        self.mailbox.ask(Rotate { lead }).await?
    }

    /// Forgets the root key `kid`, and so ends all tokens it has signed. Refuses the one that signs.
    pub async fn retire(&self, kid: &str) -> Result<(), TokensError> {
        self.mailbox.ask(Retire { kid: kid.to_owned() }).await?
    }

    /// Returns what may be shown of the root keys, the newest last.
    pub async fn keys(&self) -> Result<Vec<KeyInfo>, TokensError> {
        self.mailbox.ask(Keys).await?
    }

    /// Returns all about the text of a token: whether it is valid, and why not. For operators only.
    pub async fn inspect(&self, token: &str) -> Result<Inspection, TokensError> {
        self.mailbox.ask(Inspect { token: Zeroizing::new(token.to_owned()) }).await?
    }

    /// Returns whether root keys and revocations are here, and if not, why.
    pub async fn ready(&self) -> Result<(), TokensError> {
        self.mailbox.ask(Ready).await?
    }
}

/// Checks a token.
#[derive(Message)]
#[rtype(result = "Result<Claims, TokensError>")]
struct Verify {
    /// `None` when the text was none: said only once the keys are here, like all that is wrong.
    macaroon: Option<Macaroon>,
    op: Op,
    session: Option<SessionId>,
}

/// Asks whether root keys and revocations are here.
#[derive(Message)]
#[rtype(result = "Result<(), TokensError>")]
struct Ready;
