//! The token authority: mints and verifies macaroons; the root keys never leave this crate.
//!
//! Owns the root keys of one service, agent or gateway, which all its units share, and the list of
//! what is revoked on both. Asked by `sessions`, `api` and `gateway`; asks the bridge for the
//! sealed keys and the revocations. Until both have been read, and again when one of them was read
//! last more than 50 s ago, every question is answered [`TokensError::NotReady`], never that a
//! token is bad. Tokens are verified on the thread of whoever asks, with what the actor has read;
//! everything else is a message to it.
//!
//! | part | on restart | why |
//! |---|---|---|
//! | keys and revocations, as read last | kept | tokens are verified while NATS is away |
//! | how far the revocations were read | kept | a read of all may outlast the actor |
//! | when the authority was started | kept | early askers wait for the first read |
//! | why something could not be read | rebuilt | the next read finds it out again |

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
mod watchers;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use actix::Message;
use serde::{Deserialize, Serialize};
use stream_bridge::{Bridge, OneTimeSecret, SealedRecord};
use stream_macaroon::Macaroon;
use stream_pki::Seal;
use stream_protocol::subjects::Bucket;
use stream_protocol::{Op, Role, SessionId, Timestamp, TokenKind};
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
use authority::InvalidToken;
use identifier::Identifier;
use keyring::Keyring;
use revocation_list::RevocationList;
use tokio::time::Instant;

/// How long a new root key waits before it signs: longer than any unit goes on without reading the
/// keys, and as long again for clocks that differ.
pub const LEAD: Duration = Duration::from_secs(120);

/// How long a unit waits until it has read what it has revoked itself.
const OWN_REVOCATION_TIMEOUT: Duration = Duration::from_secs(5);

/// Where the secrets of the authority are.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// File with the key under which the units of this service seal the root keys in NATS, and
    /// those of TLS session tickets; text of at least 32 bytes, the same on all nodes.
    pub sealing_key: PathBuf,
    /// File with the first root key, text of at least 64 bytes. Used once, by the first unit that
    /// finds no root keys in NATS, and removed then if the service may; need not exist on the
    /// others.
    pub first_root_key: PathBuf,
    /// Directory for the highest generation of the root keys seen so far.
    pub state: PathBuf,
}

impl Config {
    /// Reads the secret files once.
    ///
    /// # Errors
    ///
    /// Names a file that is empty, short or unreadable, or a sealing key that is missing.
    pub fn check(&self) -> Result<(), TokensError> {
        Seal::load(&self.sealing_key)?;
        Ok(keyring::check_first(&self.first_root_key)?)
    }
}

/// A service with root keys of its own: tokens of one mean nothing to the other.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Service {
    Agent,
    Gateway,
}

impl Service {
    /// Returns the location in every token of this service.
    pub fn location(self) -> &'static str {
        match self {
            Self::Agent => "anbox-stream-agent",
            Self::Gateway => "anbox-stream-gateway",
        }
    }

    /// Returns the bucket of the sealed keys of this service.
    pub fn keys(self) -> Bucket {
        match self {
            Self::Agent => Bucket::KeysAgent,
            Self::Gateway => Bucket::KeysGateway,
        }
    }

    /// Returns the key of the sealed record with the root keys of this service.
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

    /// Ends it at `expires`.
    pub fn expires(mut self, expires: impl Into<Option<Timestamp>>) -> Self {
        self.restrictions.expires = expires.into();
        self
    }

    /// Ends it, and whatever is [renewed](Tokens::renew) from it, at `until`.
    pub fn until(mut self, until: impl Into<Option<Timestamp>>) -> Self {
        self.restrictions.until = until.into();
        self
    }
}

/// Returns a random id for a token that is made later, with [`Tokens::mint_with_id`].
pub fn token_id() -> String {
    stream_pki::random_text(identifier::ID_LENGTH).to_string()
}

/// A fresh token.
pub struct Minted {
    /// The token itself: whoever has it may use it.
    pub token: Zeroizing<String>,
    /// What it is revoked by; no secret.
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
    /// What the token is revoked by.
    pub id: String,
    pub kind: TokenKind,
    /// Whose token it is: the name of an account, the id of a session or share, or a name that an
    /// operator gave.
    pub subject: String,
    /// What is left after all caveats.
    pub restrictions: Restrictions,
}

/// Why a token that was good is so no more.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Lapse {
    Expired,
    Revoked,
}

/// A root key, as far as it may be shown.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct KeyInfo {
    pub kid: String,
    pub created_at: Timestamp,
    /// When it begins to sign.
    pub active_from: Timestamp,
    pub state: KeyState,
}

/// What a root key does. All of them verify.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    /// Signs new tokens.
    Active,
    /// Signs nothing any more.
    Old,
    /// Will sign new tokens once all units know it.
    Pending,
}

/// The address of the authority.
#[derive(Clone)]
pub struct Tokens {
    service: Service,
    mailbox: Mailbox<Actor>,
    shared: SharedState,
    /// Whose time tokens end by.
    bridge: Bridge,
}

impl Tokens {
    /// Starts the actor, which reads the root keys in the background.
    ///
    /// # Errors
    ///
    /// Names a secret file that is empty, short or unreadable, or a sealing key that is missing.
    pub fn start(
        config: Config,
        service: Service,
        bridge: Bridge,
        supervisor: &Supervisor,
    ) -> Result<Self, TokensError> {
        config.check()?;
        let seal = Arc::new(Seal::load(&config.sealing_key)?);
        let (bucket, name) = (service.keys(), service.record());
        let record = SealedRecord::new(bridge.clone(), seal, bucket, name, &config.state);
        let first_root_key = OneTimeSecret::new(config.first_root_key);
        let actor = Actor::new(service, bridge, record, first_root_key, SharedState::default());
        Ok(Self::start_actor(actor, supervisor))
    }

    /// Starts `actor`, and a copy of it whenever one fails.
    fn start_actor(actor: Actor, supervisor: &Supervisor) -> Self {
        let (service, shared) = (actor.service, actor.shared.clone());
        let bridge = actor.bridge.clone();
        let (restart, limits) = (RestartPolicy::default(), Limits::default());
        let factory = move || actor.rebuilt();
        let mailbox = supervisor.spawn("tokens", Mode::CancelOnRestart, restart, limits, factory);
        Self { service, mailbox, shared, bridge }
    }

    /// Returns a fresh token.
    ///
    /// # Errors
    ///
    /// [`TokensError::Unmintable`] for a subject that is none, an account or session that is
    /// revoked, and a kind that needs a session and has none.
    pub async fn mint(&self, mint: Mint) -> Result<Minted, TokensError> {
        self.mailbox.ask(mint).await?
    }

    /// Returns another token with the `id` of an earlier one: what revokes one revokes both.
    ///
    /// # Errors
    ///
    /// Refuses what [`mint`](Self::mint) refuses, and an id that is none.
    pub async fn mint_with_id(&self, id: &str, mint: Mint) -> Result<Minted, TokensError> {
        self.mailbox.ask(MintWithId { id: id.to_owned(), mint }).await?
    }

    /// Returns a token that allows what the one of `claims` does until `expires`, and is revoked
    /// with it.
    ///
    /// # Errors
    ///
    /// [`TokensError::Unmintable`] once the token of `claims` is revoked.
    pub async fn renew(&self, claims: &Claims, expires: Timestamp) -> Result<Minted, TokensError> {
        self.mailbox.ask(Renew { claims: claims.clone(), expires }).await?
    }

    /// Returns the claims of `token`, if it allows `op`, on `session` if one is given.
    ///
    /// A token that is bound to a session opens only that one, and nothing outside of sessions. The
    /// token of an account, of AMS or of a monitor that is bound to none opens all. Whether the
    /// account still exists, and what role and generation mean, the caller decides. A unit that was
    /// started a moment ago waits up to 5 s for its first read before it refuses.
    ///
    /// # Errors
    ///
    /// [`TokensError::Invalid`] for what is no token of this service or no longer one,
    /// [`TokensError::Forbidden`] for a token that does not allow this, [`TokensError::NotReady`]
    /// while keys or revocations are unknown.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn verify(
        &self,
        token: &str,
        op: Op,
        session: Option<&SessionId>,
    ) -> Result<Claims, TokensError> {
        self.shared.first_read().await;
        // On the thread of the caller: the way to the actor and back was measured to cost as much
        // as a whole request, and nothing is changed. Only the actor can say why nothing is known.
        let (keys, revoked) = match self.shared.known(Instant::now()) {
            Some(known) => known,
            None => self.mailbox.ask(GetKnown).await??,
        };
        let macaroon = Macaroon::decode(token).map_err(|_| TokensError::Invalid)?;
        let now = self.bridge.now();
        let verified = authority::verify(&keys, &revoked, self.service, &macaroon, now);
        verified.map_err(|_| TokensError::Invalid)?.authorize(op, session)
    }

    /// Returns why a token that this service has made opens nothing any more; `None` for one that
    /// does, for what somebody has made up, and while keys or revocations are unknown. Nothing for
    /// the bearer, who never learns the reason.
    pub fn lapse(&self, token: &str) -> Option<Lapse> {
        let (keys, revoked) = self.shared.known(Instant::now())?;
        let macaroon = Macaroon::decode(token).ok()?;
        let now = self.bridge.now();
        match authority::verify(&keys, &revoked, self.service, &macaroon, now).err()? {
            InvalidToken::Expired => Some(Lapse::Expired),
            InvalidToken::Revoked => Some(Lapse::Revoked),
            _ => None,
        }
    }

    /// Whether the token with the id `token` of the account `account` is revoked, as far as this
    /// unit knows.
    pub fn is_revoked(&self, account: &str, token: &str) -> bool {
        let token = Revocation::Token(token.to_owned());
        self.shared
            .revoked
            .latest()
            .is_some_and(|list| list.has_account(account) || list.has(&token))
    }

    /// Waits until the token of `claims` is revoked; the caller then closes what it opened.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing: a later call returns at once if the token is revoked.
    pub async fn revoked(&self, claims: &Claims) {
        let Claims { id, kind, subject, restrictions } = claims;
        let identifier = Identifier { kid: "", id, kind: *kind, subject };
        let session = restrictions.session.as_ref().map(SessionId::as_str);
        let list = || self.shared.revoked.latest();
        let found = || list().is_some_and(|revoked| revoked.covers(&identifier, session));
        self.shared.watchers.wait_for(identifier.revoking_keys(session), found).await;
    }

    /// Revokes tokens on all units, within a second where NATS is connected. `until` is when the
    /// last of them expires, if that is known: the record stays an hour longer, for clocks that
    /// differ.
    ///
    /// # Errors
    ///
    /// [`TokensError::Refused`] for what names no token and no account. After any other error the
    /// tokens may be revoked all the same.
    pub async fn revoke(
        &self,
        revocation: Revocation,
        until: Option<Timestamp>,
    ) -> Result<(), TokensError> {
        let ttl = revocation_list::record_ttl(until, self.bridge.now());
        self.mailbox.ask(Revoke { revocation: revocation.clone(), ttl }).await??;
        // So that whoever has revoked a token does not meet it here again. Units that cannot read
        // the list refuse every token soon.
        let learnt = self.shared.revoked.wait_for(|revoked| revoked.has(&revocation));
        let _ = tokio::time::timeout(OWN_REVOCATION_TIMEOUT, learnt).await;
        Ok(())
    }

    /// Revokes all tokens bound to a session that has ended, once its instance is gone. The record
    /// stays nearly as long as the session's document, which is an hour, or until
    /// [`unrevoke`](Self::unrevoke) if the document is `kept`. After that nothing is left that the
    /// tokens could open.
    ///
    /// # Errors
    ///
    /// Fails while NATS is away.
    pub async fn session_ended(&self, id: &SessionId, kept: bool) -> Result<(), TokensError> {
        let revocation = Revocation::Session(id.clone());
        let ttl = (!kept).then_some(revocation_list::ENDED_SESSION_TTL);
        self.mailbox.ask(Revoke { revocation, ttl }).await?
    }

    /// Takes a revocation back, on all units within a second where NATS is connected.
    ///
    /// # Errors
    ///
    /// [`TokensError::Refused`] for what names no token and no account.
    pub async fn unrevoke(&self, revocation: Revocation) -> Result<(), TokensError> {
        self.mailbox.ask(Unrevoke(revocation)).await?
    }

    /// Adds a root key that signs all new tokens from `lead` on, and returns it; the other keys go
    /// on verifying. With a `lead` below [`LEAD`] a unit may refuse new tokens until it has read
    /// the key, within a second where NATS is connected.
    ///
    /// # Errors
    ///
    /// [`TokensError::Refused`] while another new key does not sign yet, when there are 8 keys, and
    /// for a `lead` of more than 30 days.
    pub async fn rotate(&self, lead: Duration) -> Result<KeyInfo, TokensError> {
        keyring::check_lead(lead)?;
        self.mailbox.ask(Rotate { lead }).await?
    }

    /// Forgets the root key `kid`, and so ends all tokens it has signed.
    ///
    /// # Errors
    ///
    /// [`TokensError::Refused`] for a key that is unknown, signs, or will sign.
    pub async fn retire(&self, kid: &str) -> Result<(), TokensError> {
        self.mailbox.ask(Retire { kid: kid.to_owned() }).await?
    }

    /// Returns what may be shown of the root keys, the newest last.
    ///
    /// # Errors
    ///
    /// [`TokensError::NotReady`] while they are unknown.
    pub async fn keys(&self) -> Result<Vec<KeyInfo>, TokensError> {
        self.mailbox.ask(Keys).await?
    }

    /// Returns what the text of a token says, whether it is valid, and why not. For operators only:
    /// a bearer never learns the reason.
    ///
    /// # Errors
    ///
    /// [`TokensError::NotReady`] while keys or revocations are unknown.
    pub async fn inspect(&self, token: &str) -> Result<Inspection, TokensError> {
        self.mailbox.ask(Inspect { token: Zeroizing::new(token.to_owned()) }).await?
    }

    /// Succeeds when root keys and revocations are known.
    ///
    /// # Errors
    ///
    /// [`TokensError::NotReady`] says why they are not.
    pub async fn ready(&self) -> Result<(), TokensError> {
        self.mailbox.ask(GetKnown).await?.map(drop)
    }
}

/// Asks for root keys and revocations, or why they are not known.
#[derive(Message)]
#[rtype(result = "Result<(Arc<Keyring>, Arc<RevocationList>), TokensError>")]
struct GetKnown;
