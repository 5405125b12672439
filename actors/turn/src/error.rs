use std::io;
use std::net::SocketAddr;

use stream_bridge::SealedError;
use stream_pki::SecretError;
use stream_supervisor::AskError;

/// Why there are no ICE servers, or why what an operator asked for was not done.
#[derive(Debug, thiserror::Error)]
pub enum TurnError {
    /// No relay secret is known; says why. A wrong sealing key is among the reasons, and the only
    /// one that no waiting helps.
    #[error("the TURN secret is not here: {0}")]
    NotReady(String),
    /// No relay passes its probes; names the one that is handed out all the same.
    #[error("no relay passes its probes; {0} is handed out as the least bad")]
    NoGoodRelay(String),
    /// What was asked for does not fit the state of the relays; says why.
    #[error("{0}")]
    Refused(String),
    /// The service cannot start; names the key and the remedy.
    #[error("{0}")]
    Config(String),
    /// The service cannot start; names the file and the remedy.
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("TURN credentials are unavailable")]
    Unavailable(#[from] AskError),
}

impl From<&SealedError> for TurnError {
    fn from(error: &SealedError) -> Self {
        Self::NotReady(error.sentence())
    }
}

impl From<SealedError> for TurnError {
    fn from(error: SealedError) -> Self {
        Self::from(&error)
    }
}

/// A relay does not take a credential: another secret has signed it, or a clock is wrong.
const UNAUTHORIZED: u16 = 401;

/// Why a relay does not do what it should.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ProbeError {
    #[error("it answers what is not STUN")]
    Malformed,
    /// It refuses the credential, or to relay.
    #[error("it refuses: {code} {reason}")]
    Refused { code: u16, reason: String },
    #[error("it does not answer in time")]
    TimedOut,
    /// Its certificate is not accepted, or it does not speak TLS.
    #[error("TLS with it fails: {0}")]
    Tls(String),
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
    /// It relays, but at an address where nobody can send anything.
    #[error("it relays at {0}, where nobody can reach it")]
    Unroutable(SocketAddr),
    /// Whoever answered does not know the secret.
    #[error("its answer is not signed with the secret")]
    Unsigned,
}

impl ProbeError {
    /// Returns what the relay is found to be, for the label of a metric.
    pub(crate) fn verdict(&self) -> &'static str {
        match self {
            Self::Refused { code: UNAUTHORIZED, .. } | Self::Unsigned => "secret_refused",
            Self::Refused { .. } => "refused",
            Self::Malformed => "malformed",
            Self::TimedOut => "timed_out",
            Self::Tls(_) => "tls",
            Self::Unreachable(_) => "unreachable",
            Self::Unroutable(_) => "unroutable",
        }
    }

    /// Whether it may be the way between us and the relay that fails, and not the relay.
    pub(crate) fn is_about_the_way(&self) -> bool {
        matches!(self, Self::TimedOut | Self::Unreachable(_))
    }
}

impl From<io::Error> for ProbeError {
    fn from(error: io::Error) -> Self {
        Self::Unreachable(error.kind().to_string())
    }
}
