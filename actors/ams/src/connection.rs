//! How AMS is spoken to: TLS with our certificate and their pins, made anew when the files change.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, redirect};
use stream_pki::{Fingerprint, Identity, Trust, client_config};
use tokio::sync::watch;

use crate::Config;
use crate::error::{AmsError, chain};

/// Connections made with one certificate, and trusting what was to be trusted then.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) client: Client,
    /// Our own certificate.
    pub(crate) fingerprint: Fingerprint,
    trust: Trust,
}

impl Connection {
    /// Reads the certificates. Refuses what cannot be used, as a sentence.
    pub(crate) fn new(config: &Config) -> Result<Self, AmsError> {
        let (identity, trust) = read(config)?;
        let unusable = |error: &dyn Error| AmsError::Config(format!("ams: {}", chain(error)));
        let tls = client_config(&trust, Some(&identity)).map_err(|error| unusable(&error))?;
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .http1_only()
            .https_only(true)
            .no_proxy()
            .redirect(redirect::Policy::none())
            .connect_timeout(Duration::from_secs(config.timeout_s))
            .build()
            .map_err(|error| unusable(&error))?;
        Ok(Self { client, fingerprint: identity.fingerprint(), trust })
    }

    fn is_as_in(&self, identity: &Identity, trust: &Trust) -> bool {
        self.fingerprint == identity.fingerprint() && is_same(&self.trust, trust)
    }
}

fn is_same(one: &Trust, other: &Trust) -> bool {
    match (one, other) {
        (Trust::Authority(one), Trust::Authority(other)) => one == other,
        (Trust::Pins(one), Trust::Pins(other)) => one == other,
        _ => false,
    }
}

fn read(config: &Config) -> Result<(Identity, Trust), AmsError> {
    let refused = |text: &str| AmsError::Config(format!("ams: {text}"));
    let unusable = |error: &dyn Error| refused(&chain(error));
    let trust = match &config.ca {
        Some(_) if !config.fingerprints.is_empty() => {
            return Err(refused("give either fingerprints or ca, not both"));
        }
        Some(ca) => Trust::from_ca_file(ca).map_err(|error| unusable(&error))?,
        None => Trust::Pins(config.fingerprints.clone()),
    };
    let identity =
        Identity::load(&config.certificate, &config.key).map_err(|error| unusable(&error))?;
    Ok((identity, trust))
}

/// The present connection; replaced as a whole, so that none outlives its certificate.
#[derive(Clone)]
pub(crate) struct Connections {
    config: Arc<Config>,
    present: Arc<watch::Sender<Arc<Connection>>>,
}

impl Connections {
    pub(crate) fn new(config: &Config) -> Result<Self, AmsError> {
        let present = Arc::new(Connection::new(config)?);
        Ok(Self {
            config: Arc::new(config.clone()),
            present: Arc::new(watch::Sender::new(present)),
        })
    }

    pub(crate) fn present(&self) -> Arc<Connection> {
        Arc::clone(&self.present.borrow())
    }

    /// Follows the replacements.
    pub(crate) fn follow(&self) -> watch::Receiver<Arc<Connection>> {
        self.present.subscribe()
    }

    /// Reads the files again, and makes new connections when they have changed. Files that cannot
    /// be used leave everything as it is.
    pub(crate) fn refresh(&self) -> Result<(), AmsError> {
        let (identity, trust) = read(&self.config)?;
        if self.present().is_as_in(&identity, &trust) {
            return Ok(());
        }
        let connection = Connection::new(&self.config)?;
        log::info!("ams: our certificate is {} from now on", connection.fingerprint);
        self.present.send_replace(Arc::new(connection));
        Ok(())
    }
}
