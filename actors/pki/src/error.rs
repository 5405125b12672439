use std::io;

use crate::private_file::NotPrivate;
use crate::validity::DateError;

/// Why there is no key, no certificate or no TLS configuration.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A file of ours is not what it should be; `origin` names it.
    #[error("{origin} cannot be read: check that it exists and that the service may read it")]
    Unreadable { origin: String, source: io::Error },
    #[error("the private key {0}")]
    NotPrivate(NotPrivate),
    #[error("{origin}:{line}: not well-formed PEM: {problem}")]
    Malformed { origin: String, line: usize, problem: String },
    #[error("{origin} holds no certificate: it must hold at least one, as PEM")]
    NoCertificate { origin: String },
    #[error("{origin} holds no private key: it must hold one, as PEM and not encrypted")]
    NoKey { origin: String },
    #[error("{origin} holds a certificate that cannot be used: issue it again")]
    BadCertificate { origin: String, source: rustls::Error },
    #[error("{origin} holds a certificate that {why}: issue another, and compare the clocks")]
    Dates { origin: String, why: DateError },
    #[error("{origin} holds no authority, which alone signs certificates: make one by `pki init`")]
    NoAuthority { origin: String },
    #[error("{origin} is not an RSA key of 4096 bits: no other kind is used")]
    NotRsa4096 { origin: String },
    #[error("{key} is not the key of the certificate in {certificate}: install both together")]
    Mismatch { certificate: String, key: String },

    /// A pair cannot be put into its place.
    #[error("{origin} cannot be written: run this as the user it belongs to")]
    Unwritable { origin: String, source: io::Error },

    /// The caller trusts nobody.
    #[error("no server certificate is trusted: configure a fingerprint or an authority")]
    NoTrust,

    /// What should not happen with good input.
    #[error("a key or certificate cannot be generated")]
    Generate(#[from] rcgen::Error),
    #[error("the TLS configuration is refused")]
    Tls(#[from] rustls::Error),
}
