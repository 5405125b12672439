//! Whom an instance takes for its agent.

use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use stream_pki::{Fingerprint, Trust};
use stream_protocol::AgentEndpoint;

use super::InstanceError;
use crate::https::Https;

/// Trusts the certificates that are named for an agent, by their fingerprints; one for which none
/// is named, since it or its balancer has a certificate of an authority, by that.
pub(super) struct AgentTrust {
    /// Without any, those of the system.
    authorities: Option<Trust>,
}

impl AgentTrust {
    /// Trusts the authorities in the PEM file `path`; without one, those of the system.
    pub(super) fn new(path: Option<&Path>) -> Result<Self, InstanceError> {
        let authorities = path.map(Trust::from_ca_file).transpose();
        Ok(Self { authorities: authorities.map_err(InstanceError::Authority)? })
    }

    /// Returns a client of one agent, which is told nothing, over a request or a socket, until it
    /// has shown a certificate that is trusted.
    pub(super) fn connect(
        &self,
        endpoint: &AgentEndpoint,
        token: &str,
    ) -> Result<Arc<Https>, InstanceError> {
        let pins = endpoint.fingerprints.iter().map(|text| pin(text));
        let pins = pins.collect::<Result<Vec<_>, _>>()?;
        let trust = match &self.authorities {
            _ if !pins.is_empty() => Trust::Pins(pins),
            Some(authorities) => authorities.clone(),
            None => system_authorities().ok_or(InstanceError::NoAuthority)?,
        };
        Https::new(&endpoint.url, token, &trust).map(Arc::new).map_err(InstanceError::Agent)
    }
}

fn pin(text: &str) -> Result<Fingerprint, InstanceError> {
    text.parse().map_err(|_| InstanceError::Pin(text.chars().take(128).collect()))
}

fn system_authorities() -> Option<Trust> {
    let certificates = rustls_native_certs::load_native_certs().certs.into_iter();
    // Systems carry one or another that is of no use.
    let usable = certificates.filter(|found| RootCertStore::empty().add(found.clone()).is_ok());
    let usable: Vec<_> = usable.collect();
    (!usable.is_empty()).then_some(Trust::Authority(usable))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_fingerprint_and_no_authority_is_refused() {
        let endpoint = |fingerprints: &[&str]| AgentEndpoint {
            url: "https://127.0.0.1:1".to_owned(),
            fingerprints: fingerprints.iter().map(|text| (*text).to_owned()).collect(),
        };
        let trust = AgentTrust { authorities: None };
        let good = "00".repeat(32);
        assert!(trust.connect(&endpoint(&[&good]), "t").is_ok());
        let wrong = trust.connect(&endpoint(&[&good, "zz"]), "t");
        assert!(matches!(wrong, Err(InstanceError::Pin(_))), "not even beside a good one");
        let nowhere = AgentTrust::new(Some(Path::new("/nowhere")));
        assert!(matches!(nowhere, Err(InstanceError::Authority(_))));
    }
}
