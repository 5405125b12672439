//! The files of TLS: the authority that the servers come from, and our certificate. They are read
//! again every few seconds and before each attempt to connect, so that what is replaced counts
//! without a restart. Files that cannot be used, which is what a replacement looks like half way,
//! leave what was before, and so does what has expired or is not valid yet.

use std::path::PathBuf;

use async_nats::ServerAddr;
use parking_lot::Mutex;
use stream_pki::{Identity, ReloadableClient, Trust, file_state, unix_now};
use stream_protocol::error_chain;
use tokio_rustls::rustls::ClientConfig;

use crate::metrics::{Certificates, NatsMetrics};
use crate::{Config, ConfigError};

type FileStates = [Option<[u8; 32]>; 3];

/// The files at the last read, and at the last that could be used.
struct Seen {
    last: FileStates,
    used: FileStates,
}

/// What the files held when they were read last, for the handshakes that follow.
pub(crate) struct TlsFiles {
    config: Config,
    client: ReloadableClient,
    seen: Mutex<Seen>,
    metrics: NatsMetrics,
}

impl TlsFiles {
    /// Reads the files of `config`, and tells `metrics` of their ends.
    ///
    /// # Errors
    ///
    /// Which key of the configuration or which file cannot be used.
    pub(crate) fn read(config: &Config, metrics: &NatsMetrics) -> Result<Self, ConfigError> {
        let states = file_states(config);
        let seen = Mutex::new(Seen { last: states, used: states });
        let (trust, identity) = load(config)?;
        let client = ReloadableClient::new(&trust, identity.as_ref(), &names(config));
        let client = client.map_err(ConfigError::Tls)?;
        note(metrics, &trust, identity.as_ref());
        Ok(Self { config: config.clone(), client, seen, metrics: metrics.clone() })
    }

    /// Returns how TLS is spoken with the servers; every handshake goes by the last
    /// [`refresh`](Self::refresh).
    pub(crate) fn client_config(&self) -> Result<ClientConfig, ConfigError> {
        self.client.client_config().map_err(ConfigError::Tls)
    }

    /// Reads the files again if they have changed, or could not be used. Says so, or why they are
    /// not taken.
    pub(crate) fn refresh(&self) {
        let states = file_states(&self.config);
        let mut seen = self.seen.lock();
        // What is not valid yet becomes so by itself.
        if seen.last == states && self.metrics.reload().failure().is_none() {
            return;
        }
        let replaced = self.replace(states, seen.used);
        let is_news =
            self.metrics.reload().set(replaced.as_ref().err().map(|error| error_chain(error)));
        match replaced {
            Ok(()) => {
                log::info!("nats: the certificates were replaced");
                seen.used = states;
            }
            Err(error) if is_news => {
                let cause = error_chain(&error);
                log::warn!(cause:%; "nats: new certificates are not taken, the old ones stay");
            }
            Err(_) => {}
        }
        seen.last = states;
    }

    /// Uses what the files hold. Of what is new the dates count; what is in use is used on.
    fn replace(&self, states: FileStates, used: FileStates) -> Result<(), ConfigError> {
        let (trust, identity) = load(&self.config)?;
        let now = unix_now();
        if states[0] != used[0] {
            trust.check_dates(&self.config.ca, now).map_err(ConfigError::Tls)?;
        }
        if let (Some(identity), Some(file)) = (&identity, &self.config.certificate)
            && states[1] != used[1]
        {
            identity.check_dates(file, now).map_err(ConfigError::Tls)?;
        }
        let names = names(&self.config);
        self.client.replace(&trust, identity.as_ref(), &names).map_err(ConfigError::Tls)?;
        note(&self.metrics, &trust, identity.as_ref());
        Ok(())
    }
}

/// Has `metrics` tell when what is in use from now on ends to be valid.
fn note(metrics: &NatsMetrics, trust: &Trust, identity: Option<&Identity>) {
    let (authority, client) = (trust.not_after(), identity.and_then(Identity::not_after));
    metrics.set_certificates(Certificates { authority, client });
}

fn load(config: &Config) -> Result<(Trust, Option<Identity>), ConfigError> {
    let trust = Trust::from_ca_file(&config.ca).map_err(ConfigError::Tls)?;
    let identity = match (&config.certificate, &config.key) {
        (Some(certificate), Some(key)) => {
            Some(Identity::load(certificate, key).map_err(ConfigError::Tls)?)
        }
        _ => None,
    };
    Ok((trust, identity))
}

/// Returns the names of the configured servers, who advertise each other by address, whatever their
/// certificates say.
fn names(config: &Config) -> Vec<String> {
    let address = |server: &String| server.parse::<ServerAddr>().ok();
    let addresses = config.servers.iter().filter_map(address);
    addresses.map(|server| server.host().to_owned()).collect()
}

fn file_states(config: &Config) -> FileStates {
    let state = |path: Option<&PathBuf>| file_state(path?);
    [Some(&config.ca), config.certificate.as_ref(), config.key.as_ref()].map(state)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use stream_pki::{Authority, ClientCertificates, ServerIdentity, server_config};
    use tokio_rustls::rustls::pki_types::ServerName;
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    use super::*;

    /// Whether a server whose certificate is of `authority` is taken in a handshake.
    async fn is_taken(config: &Arc<ClientConfig>, authority: &Authority) -> bool {
        let pair = authority.issue("nats", &["localhost".to_owned()]).unwrap();
        let identity = Identity::from_pem(pair.certificate.as_bytes(), pair.key.as_bytes());
        let identity = ServerIdentity::new(identity.unwrap());
        let acceptor = TlsAcceptor::from(server_config(&identity, ClientCertificates::Ignored));
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let name = ServerName::try_from("localhost").unwrap();
        let connector = TlsConnector::from(Arc::clone(config));
        let (ours, _) = tokio::join!(connector.connect(name, ours), acceptor.accept(theirs));
        ours.is_ok()
    }

    #[tokio::test]
    async fn an_authority_that_is_replaced_counts_and_half_of_a_file_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let ca = directory.path().join("ca.pem");
        let [one, two] = ["one", "two"].map(|name| Authority::generate(name).unwrap());
        fs::write(&ca, one.certificate_pem()).unwrap();
        let config = Config {
            servers: vec!["tls://localhost:4222".to_owned()],
            ca: ca.clone(),
            token: None,
            credentials: None,
            nkey: None,
            certificate: None,
            key: None,
            replicas: 1,
        };
        let files = TlsFiles::read(&config, &NatsMetrics::default()).unwrap();
        let client = Arc::new(files.client_config().unwrap());
        assert!(is_taken(&client, &one).await && !is_taken(&client, &two).await);

        let pem = two.certificate_pem();
        for unfit in ["", &pem[..pem.len() / 2]] {
            fs::write(&ca, unfit).unwrap();
            files.refresh();
            assert!(is_taken(&client, &one).await && !is_taken(&client, &two).await);
            assert!(files.metrics.reload().failure().is_some_and(|why| why.contains("ca.pem")));
        }
        fs::write(&ca, pem).unwrap();
        files.refresh();
        assert_eq!(files.metrics.reload().failure(), None);
        assert!(is_taken(&client, &two).await && !is_taken(&client, &one).await);
        fs::remove_file(&ca).unwrap();
        files.refresh();
        assert!(is_taken(&client, &two).await && !is_taken(&client, &one).await);
    }
}
