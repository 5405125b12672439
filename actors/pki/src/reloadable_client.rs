//! A connecting end whose trust and identity are replaced while its configuration is in use, for
//! libraries that take one configuration for all their connections.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::client::verifier;
use crate::error::PkiError;
use crate::identity::Identity;
use crate::trust::Trust;
use crate::{VERSIONS, provider};

/// Whom a client trusts and what it presents. Every clone, and every configuration made of it, sees
/// a replacement at the next handshake.
#[derive(Clone, Debug)]
pub struct ReloadableClient(Arc<ArcSwap<Present>>);

#[derive(Debug)]
struct Present {
    verifier: Arc<dyn ServerCertVerifier>,
    key: Option<Arc<CertifiedKey>>,
}

impl ReloadableClient {
    /// Accepts and presents what [`client_config`](crate::client_config) does. Servers may tell of
    /// each other by address alone: one that is called by another name than those in `names` may
    /// have the certificate of any of them.
    ///
    /// # Errors
    ///
    /// As that.
    pub fn new(
        trust: &Trust,
        identity: Option<&Identity>,
        names: &[String],
    ) -> Result<Self, PkiError> {
        let present = Present::new(trust, identity, names)?;
        Ok(Self(Arc::new(ArcSwap::from_pointee(present))))
    }

    /// Accepts and presents this from the next handshake on.
    ///
    /// # Errors
    ///
    /// As [`ReloadableClient::new`]; what was before stays then.
    pub fn replace(
        &self,
        trust: &Trust,
        identity: Option<&Identity>,
        names: &[String],
    ) -> Result<(), PkiError> {
        self.0.store(Arc::new(Present::new(trust, identity, names)?));
        Ok(())
    }

    /// Returns a configuration that follows the replacements. It resumes nothing: a connection that
    /// is resumed shows no certificate, and one of a server that is trusted no more might be.
    ///
    /// # Errors
    ///
    /// Fails when the crypto provider does not speak TLS 1.3.
    pub fn client_config(&self) -> Result<ClientConfig, PkiError> {
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(VERSIONS)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(self.clone()))
            .with_client_cert_resolver(Arc::new(self.clone()));
        config.resumption = Resumption::disabled();
        Ok(config)
    }
}

impl Present {
    fn new(trust: &Trust, identity: Option<&Identity>, names: &[String]) -> Result<Self, PkiError> {
        let key = identity.map(|identity| Arc::clone(identity.certified_key()));
        Ok(Self { verifier: verifier(trust, names)?, key })
    }
}

impl ServerCertVerifier for ReloadableClient {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let present = self.0.load();
        present.verifier.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        )
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.load().verifier.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.load().verifier.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.load().verifier.supported_verify_schemes()
    }
}

impl ResolvesClientCert for ReloadableClient {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.load().key.clone()
    }

    fn has_certs(&self) -> bool {
        self.0.load().key.is_some()
    }
}
