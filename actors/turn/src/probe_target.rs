//! Where and how a relay is probed.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use stream_pki::Trust;
use tokio::net::lookup_host;
use tokio_rustls::TlsConnector;

use crate::error::ProbeError;
use crate::url::RelayUrl;
use crate::{Pool, Server, TurnError};

/// The most addresses of one name that are probed.
const MAX_ADDRESSES: usize = 8;

/// One URL of a relay.
#[derive(Clone)]
pub(crate) struct ProbeTarget {
    url: RelayUrl,
    tls: Option<TlsConnector>,
}

/// The probe targets of every relay of every pool.
pub(crate) type ProbeTargets = Vec<Vec<Vec<ProbeTarget>>>;

/// Returns where the relays of `pools` are probed: each over all its URLs but those of DTLS, which
/// is not spoken here. Refuses a relay without any, and authorities that cannot be used.
pub(crate) fn targets(pools: &[Pool]) -> Result<ProbeTargets, TurnError> {
    pools.iter().map(|pool| pool.servers.iter().map(of).collect()).collect()
}

fn of(server: &Server) -> Result<Vec<ProbeTarget>, TurnError> {
    let urls = server.urls.iter().filter_map(|url| RelayUrl::parse(url));
    // TLS over UDP is DTLS.
    let urls: Vec<_> = urls.filter(|url| url.tcp || !url.secure).collect();
    let secure = urls.iter().any(|url| url.secure);
    let tls = secure.then(|| connector(server.ca.as_deref())).transpose()?;
    let target = |url: RelayUrl| ProbeTarget { tls: tls.clone().filter(|_| url.secure), url };
    let targets: Vec<_> = urls.into_iter().map(target).collect();
    if targets.is_empty() {
        let name = server.name();
        let text =
            format!("turn.servers: {name} cannot be probed over DTLS alone, add another URL");
        return Err(TurnError::Config(text));
    }
    Ok(targets)
}

/// A client of relays that trusts the authorities in the file `ca`, or those of the system.
fn connector(ca: Option<&Path>) -> Result<TlsConnector, TurnError> {
    let certificates = match ca {
        Some(path) => match Trust::from_ca_file(path) {
            Ok(Trust::Authority(certificates)) => certificates,
            Ok(Trust::Pins(_)) => Vec::new(),
            Err(error) => return Err(TurnError::Config(format!("turn.servers.ca: {error}"))),
        },
        None => rustls_native_certs::load_native_certs().certs,
    };
    let mut roots = RootCertStore::empty();
    // Systems carry one or another that is of no use.
    let (added, _) = roots.add_parsable_certificates(certificates);
    if added == 0 {
        let text = "turn.servers.ca: this system has no authorities, name a file with some";
        return Err(TurnError::Config(text.to_owned()));
    }
    // The listener is the relay's, not ours: it may be older than TLS 1.3.
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(rustls::ALL_VERSIONS)
        .expect("the provider speaks every version")
        .with_root_certificates(roots)
        .with_no_client_auth();
    // Who resumes is not shown the certificate, which may have run out since.
    config.resumption = Resumption::disabled();
    Ok(TlsConnector::from(Arc::new(config)))
}

impl ProbeTarget {
    /// The target that `url` names; `None` for what is none, or inside TLS.
    pub(crate) fn plain(url: &str) -> Option<Self> {
        let url = RelayUrl::parse(url).filter(|url| !url.secure)?;
        Some(Self { url, tls: None })
    }

    /// What operators call it: `udp`, `tcp` or `tls`.
    pub(crate) fn name(&self) -> &'static str {
        match (&self.tls, self.url.tcp) {
            (Some(_), _) => "tls",
            (None, true) => "tcp",
            (None, false) => "udp",
        }
    }

    /// Looks up the addresses of the relay, a few at most.
    pub(crate) async fn addresses(&self) -> Result<Vec<SocketAddr>, ProbeError> {
        let found = lookup_host((self.url.host.as_str(), self.url.port)).await?;
        let found: Vec<_> = found.take(MAX_ADDRESSES).collect();
        if found.is_empty() {
            return Err(ProbeError::Unreachable("its name has no address".to_owned()));
        }
        Ok(found)
    }

    pub(crate) fn url(&self) -> &RelayUrl {
        &self.url
    }

    /// The client that speaks TLS with the relay, unless the target is outside TLS.
    pub(crate) fn tls(&self) -> Option<&TlsConnector> {
        self.tls.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn named(urls: &[&str], ca: Option<PathBuf>) -> Result<Vec<&'static str>, TurnError> {
        let urls = urls.iter().map(|&url| url.to_owned()).collect();
        let targets = of(&Server { urls, ca })?;
        Ok(targets.iter().map(ProbeTarget::name).collect())
    }

    #[test]
    fn a_relay_is_probed_over_every_url_but_those_of_dtls() {
        let directory = tempfile::tempdir().unwrap();
        let ca = directory.path().join("ca.pem");
        let authority = stream_pki::Authority::generate("test").unwrap();
        std::fs::write(&ca, authority.certificate_pem()).unwrap();
        let named = |urls: &[&str]| named(urls, Some(ca.clone())).unwrap();
        let urls =
            ["turn:a?transport=tcp", "turn:a", "turns:a?transport=udp", "turns:a", "turns:b"];
        assert_eq!(named(&urls), ["tcp", "udp", "tls", "tls"]);
        assert_eq!(named(&urls[..1]), ["tcp"]);
        assert_eq!(named(&urls[3..4]), ["tls"]);
    }

    #[test]
    fn a_relay_that_cannot_be_probed_is_refused_with_the_reason() {
        let why = |refused: Result<_, TurnError>| refused.unwrap_err().to_string();
        let dtls = why(named(&["turns:a?transport=udp"], None));
        assert!(dtls.contains("turns:a?transport=udp cannot be probed over DTLS"), "{dtls}");
        let ca = why(named(&["turns:a"], Some("missing.pem".into())));
        assert!(ca.starts_with("turn.servers.ca") && ca.contains("missing.pem"), "{ca}");
        assert_eq!(named(&["turn:a"], Some("missing.pem".into())).unwrap(), ["udp"], "not needed");
    }
}
