//! The connecting end.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::sign::SingleCertAndKey;

use crate::error::PkiError;
use crate::identity::Identity;
use crate::names::NamesVerifier;
use crate::pins::PinVerifier;
use crate::trust::{Trust, roots};
use crate::{VERSIONS, provider};

/// Returns a TLS 1.3 client that accepts the servers of `trust` and presents `identity` to those
/// that ask.
///
/// A resumed connection does not show the server's certificate again: a client that changes whom it
/// trusts, or its identity, needs a new configuration.
///
/// # Errors
///
/// [`PkiError::NoTrust`] when `trust` names nobody; also for a certificate that is no authority.
pub fn client_config(trust: &Trust, identity: Option<&Identity>) -> Result<ClientConfig, PkiError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(VERSIONS)?
        .dangerous()
        .with_custom_certificate_verifier(verifier(trust, &[])?);
    Ok(match identity {
        Some(identity) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(
            identity.certified_key().clone(),
        ))),
        None => builder.with_no_client_auth(),
    })
}

/// Returns what accepts the servers of `trust`; one that is called by another name than those in
/// `names` may have the certificate of any of them.
pub(crate) fn verifier(
    trust: &Trust,
    names: &[String],
) -> Result<Arc<dyn ServerCertVerifier>, PkiError> {
    let provider = provider();
    Ok(match trust {
        Trust::Authority(certificates) => {
            let roots = Arc::new(roots(certificates)?);
            let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider)
                .build()
                .map_err(|_| PkiError::NoTrust)?;
            Arc::new(NamesVerifier::new(verifier, names))
        }
        Trust::Pins(pins) if pins.is_empty() => return Err(PkiError::NoTrust),
        Trust::Pins(pins) => Arc::new(PinVerifier::new(pins.clone(), provider)),
    })
}
