//! The part of a certificate verifier that does not depend on whom it trusts: signatures of the
//! handshake, TLS 1.3 only.

/// Writes the three methods that [`ServerCertVerifier`](rustls::client::danger::ServerCertVerifier)
/// and [`ClientCertVerifier`](rustls::server::danger::ClientCertVerifier) share, for a type with a
/// field `provider`. `$tls12` is why TLS 1.2 is refused.
macro_rules! tls13_signatures {
    ($tls12:expr) => {
        fn verify_tls12_signature(
            &self,
            _message: &[u8],
            _certificate: &rustls_pki_types::CertificateDer<'_>,
            _signature: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            Err($tls12.into())
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &rustls_pki_types::CertificateDer<'_>,
            signature: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            let algorithms = &self.provider.signature_verification_algorithms;
            rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
            self.provider.signature_verification_algorithms.supported_schemes()
        }
    };
}

pub(crate) use tls13_signatures;
