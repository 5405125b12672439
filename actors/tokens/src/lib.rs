//! The token authority: mints and verifies macaroons; the root keys never leave this crate.
//!
//! Owns the root keys of one side, agent or gateway, which all units of that side share. Asked by
//! `sessions`, `api` and `gateway`; asks the bridge for the sealed keys. Until it has them every
//! question is answered [`TokensError::NotReady`], never that a token is bad. A restart loses
//! nothing: the keys outlive it.

mod actor;
mod authority;
mod caveats;
mod error;
mod identifier;
mod keyring;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use actix::Message;
use serde::Deserialize;
use stream_bridge::Bridge;
use stream_macaroon::Macaroon;
use stream_pki::Seal;
use stream_protocol::{Op, Role, SessionId, TokenKind};
use stream_supervisor::{Limits, Mailbox, Restart, Supervisor};
use zeroize::Zeroizing;

pub use error::TokensError;

use actor::{Actor, Kept};

/// Where the secrets of the authority are.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// File with the key under which the units of this side seal the root keys in NATS; text of at
    /// least 32 bytes, the same on all nodes.
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
pub enum Side {
    Agent,
    Gateway,
}

impl Side {
    /// The location in every token of this side.
    pub fn location(self) -> &'static str {
        match self {
            Self::Agent => "anbox-stream-agent",
            Self::Gateway => "anbox-stream-gateway",
        }
    }

    /// The record that holds the root keys of this side.
    fn record(self) -> &'static str {
        match self {
            Self::Agent => "agent.root",
            Self::Gateway => "gateway.root",
        }
    }
}

/// Makes a token that allows what its kind allows.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<Minted, TokensError>")]
pub struct Mint {
    pub kind: TokenKind,
    /// 1 to 64 characters of `A-Za-z0-9_.:@-`.
    pub subject: String,
    /// The one session that the token opens. Tokens of instances and sockets must have one.
    pub session: Option<SessionId>,
    pub role: Option<Role>,
    pub generation: Option<u64>,
    /// When the token ends, to the second; `None` for an instance, whose token ends with its
    /// session.
    pub expires: Option<SystemTime>,
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
    /// The one session that the token opens; `None` when it is not bound to one.
    pub session: Option<SessionId>,
    /// The one role the bearer may take; `None` when it is not bound to one.
    pub role: Option<Role>,
    /// The one generation the token is good for; `None` when it is not bound to one.
    pub generation: Option<u64>,
    pub expires: Option<SystemTime>,
}

/// The address of the authority.
#[derive(Clone)]
pub struct Tokens(Mailbox<Actor>);

impl Tokens {
    /// Starts the actor; it gets the root keys in the background. Refuses when a secret file is
    /// empty, short or unreadable, or the sealing key is missing.
    pub fn start(
        config: Config,
        side: Side,
        bridge: Bridge,
        supervisor: &Supervisor,
    ) -> Result<Self, TokensError> {
        config.check()?;
        let seal = Arc::new(Seal::load(&config.sealing_key)?);
        let kept = Kept::default();
        let factory = move || {
            let (config, bridge) = (config.clone(), bridge.clone());
            Actor::new(config, side, bridge, Arc::clone(&seal), kept.clone())
        };
        Ok(Self(supervisor.guard("tokens", Restart::default(), Limits::default(), factory)))
    }

    /// Returns a fresh token. Refuses a subject that is none, and an instance or socket without a
    /// session.
    pub async fn mint(&self, mint: Mint) -> Result<Minted, TokensError> {
        self.0.ask(mint).await?
    }

    /// Returns what `token` says, if it allows `op`, on `session` if one is given.
    ///
    /// A token that is bound to a session opens only that one, and nothing outside of sessions; one
    /// of an account or of AMS that is bound to none opens all. Whether the account still exists,
    /// whether the token was revoked, and what `role` and `generation` mean, is for the caller.
    pub async fn verify(
        &self,
        token: &str,
        op: Op,
        session: Option<&SessionId>,
    ) -> Result<Claims, TokensError> {
        // Read here, so that a text of any length goes no further.
        let macaroon = Macaroon::decode(token).ok();
        self.0.ask(Verify { macaroon, op, session: session.cloned() }).await?
    }

    /// Returns whether the root keys are here, and if not, why.
    pub async fn ready(&self) -> Result<(), TokensError> {
        self.0.ask(Ready).await?
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

/// Asks whether the root keys are here.
#[derive(Message)]
#[rtype(result = "Result<(), TokensError>")]
struct Ready;
