//! Why a TLS handshake failed, as an operator has to hear it.

use std::error::Error as StdError;
use std::fmt::Write;
use std::io;

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::fingerprint::Fingerprint;
use crate::pins::PinMismatch;

/// The most names of a certificate that are told.
const MAX_NAMES: usize = 8;

/// Why TLS with a server failed. Each text says it of the server: "its certificate …".
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TlsFailure {
    /// Its certificate has none of the pinned fingerprints.
    #[error("its certificate is not a pinned one: its fingerprint is {0}")]
    NotPinned(Fingerprint),
    #[error("its certificate comes from an authority that is not among the trusted ones")]
    UnknownAuthority,
    /// The name it was called by, and those it may be called by.
    #[error("its certificate is for {}, not for {called}", listed(.names))]
    WrongName { called: String, names: Vec<String> },
    #[error("its certificate has expired{}", moment(" on ", .0))]
    Expired(Option<u64>),
    #[error("its certificate is not valid yet{}: compare the clocks", moment(", but from ", .0))]
    NotYetValid(Option<u64>),
    #[error(
        "its certificate is that of an authority, which is no server's: issue one for the server"
    )]
    AuthorityAsServer,
    /// It may not serve, or has a part that nobody here understands.
    #[error("its certificate cannot be used: {0}")]
    Unusable(String),
    #[error("it speaks plain text where TLS is expected from the first byte on")]
    PlainText,
    #[error("it has no TLS version in common with us: it has to speak TLS 1.3")]
    NoCommonVersion,
    /// It wants a certificate of ours, or another one.
    #[error("it does not accept our certificate ({0})")]
    OurCertificate(String),
    #[error("the handshake fails: {0}")]
    Other(String),
}

impl TlsFailure {
    /// Returns the failure of TLS that `error` is or was caused by, if there is one.
    pub fn find(error: &(dyn StdError + 'static)) -> Option<Self> {
        find::<Error>(error).map(Self::from)
    }
}

impl From<&Error> for TlsFailure {
    fn from(error: &Error) -> Self {
        match error {
            Error::InvalidCertificate(error) => certificate(error),
            Error::AlertReceived(alert) => by_alert(*alert),
            Error::InvalidMessage(InvalidMessage::InvalidContentType) => Self::PlainText,
            Error::PeerIncompatible(why) => match format!("{why:?}").contains("Tls1") {
                true => Self::NoCommonVersion,
                false => Self::Other(error.to_string()),
            },
            error => Self::Other(error.to_string()),
        }
    }
}

fn certificate(error: &CertificateError) -> TlsFailure {
    match error {
        CertificateError::UnknownIssuer => TlsFailure::UnknownAuthority,
        CertificateError::NotValidForNameContext { expected, presented } => {
            let names = presented.iter().map(|name| plain_name(name)).collect();
            TlsFailure::WrongName { called: expected.to_str().into_owned(), names }
        }
        CertificateError::Expired => TlsFailure::Expired(None),
        CertificateError::ExpiredContext { not_after, .. } => {
            TlsFailure::Expired(Some(not_after.as_secs()))
        }
        CertificateError::NotValidYet => TlsFailure::NotYetValid(None),
        CertificateError::NotValidYetContext { not_before, .. } => {
            TlsFailure::NotYetValid(Some(not_before.as_secs()))
        }
        CertificateError::Other(other) => match other.0.downcast_ref::<PinMismatch>() {
            Some(mismatch) => TlsFailure::NotPinned(mismatch.presented),
            // What webpki says has no type here.
            None if other.0.to_string().contains("CaUsedAsEndEntity") => {
                TlsFailure::AuthorityAsServer
            }
            None => TlsFailure::Unusable(other.0.to_string()),
        },
        other => TlsFailure::Unusable(other.to_string()),
    }
}

fn by_alert(alert: AlertDescription) -> TlsFailure {
    use AlertDescription::{
        AccessDenied, BadCertificate, CertificateExpired, CertificateRequired, CertificateRevoked,
        CertificateUnknown, ProtocolVersion, UnknownCA, UnsupportedCertificate,
    };
    match alert {
        ProtocolVersion => TlsFailure::NoCommonVersion,
        AccessDenied
        | BadCertificate
        | CertificateExpired
        | CertificateRequired
        | CertificateRevoked
        | CertificateUnknown
        | UnknownCA
        | UnsupportedCertificate => TlsFailure::OurCertificate(format!("{alert:?}")),
        alert => TlsFailure::Other(format!("it says {alert:?}")),
    }
}

/// Says whether `error`, or anything that caused it, is that a server is not a pinned one.
pub fn is_pin_mismatch(error: &(dyn StdError + 'static)) -> bool {
    matches!(TlsFailure::find(error), Some(TlsFailure::NotPinned(_)))
}

/// Returns the error of type `E` that `error` is or was caused by.
fn find<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        // What an I/O error wraps is not its source: the source is what lies under that.
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped as &(dyn StdError + 'static)),
            None => error.source(),
        };
    }
    None
}

/// Returns the name alone of one that webpki prints with its kind, as `DnsName("a")`.
fn plain_name(name: &str) -> String {
    let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.unwrap_or(name).trim_matches('"').chars().filter(|c| !c.is_control()).collect()
}

fn listed(names: &[String]) -> String {
    match names {
        [] => "no name at all".to_owned(),
        names if names.len() > MAX_NAMES => {
            let more = names.len() - MAX_NAMES;
            format!("{} and {more} more", names[..MAX_NAMES].join(", "))
        }
        names => names.join(", "),
    }
}

fn moment(before: &str, unix: &Option<u64>) -> String {
    let mut text = String::new();
    let seconds = unix.and_then(|unix| i64::try_from(unix).ok());
    let time = seconds.and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    if let Some(time) = time.and_then(|time| time.format(&Rfc3339).ok()) {
        let _ = write!(text, "{before}{time}");
    }
    text
}
