//! The accepting end: an identity and ticket keys that are replaced while servers use them.

use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{ServerConfig, SignatureAlgorithm, SignatureScheme};

use crate::client_certificates::AcceptAnyClientCert;
use crate::fingerprint::Fingerprint;
use crate::identity::Identity;
use crate::reload_status::ReloadStatus;
use crate::session_tickets::SessionTicketer;
use crate::{VERSIONS, provider};

/// The certificate that servers present, and the tickets that returning clients resume with. Every
/// clone sees a swap at once; a handshake in progress keeps the identity it began with.
#[derive(Clone, Debug)]
pub struct ServerIdentity {
    identity: Arc<ArcSwap<Identity>>,
    next: Arc<ArcSwapOption<Fingerprint>>,
    ticketer: SessionTicketer,
    reload: ReloadStatus,
}

impl ServerIdentity {
    pub fn new(identity: Identity) -> Self {
        Self {
            identity: Arc::new(ArcSwap::from_pointee(identity)),
            next: Arc::default(),
            ticketer: SessionTicketer::default(),
            reload: ReloadStatus::default(),
        }
    }

    /// Presents `identity` from the next handshake on.
    pub fn swap(&self, identity: Identity) {
        self.identity.store(Arc::new(identity));
    }

    pub fn current(&self) -> Arc<Identity> {
        self.identity.load_full()
    }

    /// Names the certificate that will replace the present one, if it is known by now.
    pub fn set_next(&self, next: Option<Fingerprint>) {
        self.next.store(next.map(Arc::new));
    }

    /// Returns what whoever pins this server has to know: the present certificate, and the next.
    pub fn fingerprints(&self) -> Vec<Fingerprint> {
        let present = self.current().fingerprint();
        let next = self.next.load().as_deref().copied().filter(|next| *next != present);
        [present].into_iter().chain(next).collect()
    }

    /// Returns what came of the last look at the files behind it.
    pub fn reload_status(&self) -> &ReloadStatus {
        &self.reload
    }

    /// Returns what makes and reads the tickets of all servers that present this identity.
    pub fn ticketer(&self) -> &SessionTicketer {
        &self.ticketer
    }
}

impl ResolvesServerCert for ServerIdentity {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.identity.load().certified_key().clone())
    }
}

/// Returns a server like `config` that completes no full handshake: clients that resume with a
/// ticket are served, and all others refused before the private key has to work for them.
pub fn only_resuming(config: &ServerConfig) -> ServerConfig {
    let mut spent = config.clone();
    spent.cert_resolver = Arc::new(OnlyResuming(Arc::clone(&config.cert_resolver)));
    spent
}

/// Presents the certificate, which a handshake begins with in any case, with a key that signs
/// nothing.
#[derive(Debug)]
struct OnlyResuming(Arc<dyn ResolvesServerCert>);

impl ResolvesServerCert for OnlyResuming {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let presented = self.0.resolve(hello)?;
        let key = Arc::new(KeyAtRest(presented.key.algorithm()));
        Some(Arc::new(CertifiedKey::new(presented.cert.clone(), key)))
    }
}

#[derive(Debug)]
struct KeyAtRest(SignatureAlgorithm);

impl SigningKey for KeyAtRest {
    fn choose_scheme(&self, _: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        None
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.0
    }
}

/// How a server treats client certificates in the handshake.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ClientCertificates {
    /// Asks for one, and accepts any or none, self-signed ones included. The client has proven that
    /// it holds the key; each request is then authorized by the fingerprint.
    AnyOrNone,
    /// Asks for none.
    Ignored,
}

/// Returns a TLS 1.3 server that presents what `identity` holds at each handshake.
///
/// Returning clients resume with a ticket of `identity`. The caller adds protocols (ALPN).
pub fn server_config(identity: &ServerIdentity, clients: ClientCertificates) -> Arc<ServerConfig> {
    let provider = provider();
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(VERSIONS)
        .expect("the provider speaks TLS 1.3");
    let builder = match clients {
        ClientCertificates::AnyOrNone => {
            builder.with_client_cert_verifier(Arc::new(AcceptAnyClientCert::new(provider)))
        }
        ClientCertificates::Ignored => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(identity.clone()));
    config.ticketer = Arc::new(identity.ticketer().clone());
    Arc::new(config)
}
