//! Keys, certificates, pins and the TLS configurations made of them.
//!
//! Asked by every crate that opens or accepts a TLS connection or reads a secret from a file; asks
//! nobody. All of it is TLS 1.3 and RSA-4096, and the crypto provider is always passed by hand, so
//! that nothing depends on who installed a process default first. No actor, and no state but what
//! is in files.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod certificate_info;
mod client;
mod client_certificates;
mod clock;
mod digest;
mod error;
mod expiry;
mod file_watch;
mod files;
mod fingerprint;
#[doc(hidden)]
pub mod fuzzing;
mod generate;
mod identity;
mod mac_key;
mod names;
mod pair_store;
mod pem;
mod pins;
mod private_file;
mod random;
mod reload_status;
mod reloadable_client;
mod renewal;
mod seal;
mod secret;
mod server;
mod session_tickets;
mod signatures;
mod tls_failure;
mod trust;
mod user_name;
mod validity;

use std::sync::Arc;

use rustls::SupportedProtocolVersion;
use rustls::crypto::{CryptoProvider, aws_lc_rs};

pub use certificate_info::CertificateInfo;
pub use client::client_config;
pub use clock::unix_now;
pub use digest::{hmac_sha256, sha256};
pub use error::PkiError;
pub use file_watch::FileWatch;
pub use files::{create_private_dir, write_new};
pub use fingerprint::{Fingerprint, FingerprintError};
pub use generate::{Authority, CertificateRequest, KeyPairPem, Purpose, self_signed};
pub use identity::Identity;
pub use mac_key::MacKey;
pub use pair_store::{PairSlot, PairStore};
pub use pins::PinMismatch;
pub use private_file::{NotPrivate, file_state};
#[cfg(feature = "simulation")]
pub use random::draw_from_seed;
pub use random::{random_bytes, random_text};
pub use reload_status::ReloadStatus;
pub use reloadable_client::ReloadableClient;
pub use renewal::{RenewalStep, next_step, promoted_at_last};
pub use seal::{Seal, UnsealError};
pub use secret::{SecretError, read_secret, remove_secret};
pub use server::{ClientCertificates, ServerIdentity, only_resuming, server_config};
pub use session_tickets::{SessionTicketer, TICKET_LIFETIME, TicketKey};
pub use tls_failure::{TlsFailure, is_pin_mismatch};
pub use trust::Trust;
pub use validity::{DateError, Validity, moment};

/// The only version spoken.
const VERSIONS: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}
