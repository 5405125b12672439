//! TLS connections to AMS with our certificate and their pins, replaced when the files change. An
//! idle connection is closed then; a request under way ends on the connection it began on.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, Url, redirect};
use stream_pki::{Fingerprint, Identity, Trust, client_config, unix_now};
use stream_protocol::error_chain;
use tokio::sync::watch;

use crate::Config;
use crate::error::AmsError;
use crate::resolver::Resolver;
use crate::tls_files::read;

/// Where `https:` leads to that names no port.
const DEFAULT_PORT: u16 = 443;

/// Connections made with one certificate, and trusting what was to be trusted then.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) client: Client,
    /// Our own certificate, DER, and its fingerprint.
    pub(crate) certificate: Vec<u8>,
    pub(crate) fingerprint: Fingerprint,
    /// When our certificate ends to be valid, in seconds since 1970.
    pub(crate) not_after: Option<u64>,
    trust: Trust,
}

impl Connection {
    /// Reads the certificates. Refuses what cannot be used, as a sentence.
    pub(crate) fn new(config: &Config) -> Result<Self, AmsError> {
        let (identity, trust) = read(config)?;
        let unusable = |error: &dyn Error| AmsError::Config(format!("ams: {}", error_chain(error)));
        let tls = client_config(&trust, Some(&identity)).map_err(|error| unusable(&error))?;
        let port = Url::parse(&config.url).ok().and_then(|url| url.port_or_known_default());
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .http1_only()
            .https_only(true)
            .no_proxy()
            .dns_resolver(Resolver { port: port.unwrap_or(DEFAULT_PORT) })
            .redirect(redirect::Policy::none())
            .connect_timeout(Duration::from_secs(config.timeout_s))
            .build()
            .map_err(|error| unusable(&error))?;
        let certificate = identity.chain().first().map(|der| der.to_vec()).unwrap_or_default();
        let (fingerprint, not_after) = (identity.fingerprint(), identity.not_after());
        Ok(Self { client, certificate, fingerprint, not_after, trust })
    }

    /// Returns when the first of the authorities ends to be valid, in seconds since 1970.
    pub(crate) fn trust_not_after(&self) -> Option<u64> {
        self.trust.not_after()
    }

    fn is_as_in(&self, identity: &Identity, trust: &Trust) -> bool {
        self.fingerprint == identity.fingerprint() && is_same(&self.trust, trust)
    }
}

/// Refuses what is new and has expired or is not valid yet; what is in use is used on all the same.
fn check_dates(
    config: &Config,
    present: &Connection,
    identity: &Identity,
    trust: &Trust,
) -> Result<(), AmsError> {
    let now = unix_now();
    let checked = match identity.fingerprint() == present.fingerprint {
        true => Ok(()),
        false => identity.check_dates(&config.certificate, now),
    };
    let checked = checked.and_then(|()| match &config.ca {
        Some(ca) if !is_same(trust, &present.trust) => trust.check_dates(ca, now),
        _ => Ok(()),
    });
    checked.map_err(|error| AmsError::Config(format!("ams: {}", error_chain(&error))))
}

fn is_same(one: &Trust, other: &Trust) -> bool {
    match (one, other) {
        (Trust::Authority(one), Trust::Authority(other)) => one == other,
        (Trust::Pins(one), Trust::Pins(other)) => one == other,
        _ => false,
    }
}

/// The present connection; replaced as a whole, so that none outlives its certificate.
#[derive(Clone)]
pub(crate) struct Connections {
    config: Arc<Config>,
    current: Arc<watch::Sender<Arc<Connection>>>,
}

impl Connections {
    pub(crate) fn new(config: &Config) -> Result<Self, AmsError> {
        let present = Arc::new(Connection::new(config)?);
        Ok(Self {
            config: Arc::new(config.clone()),
            current: Arc::new(watch::Sender::new(present)),
        })
    }

    pub(crate) fn current(&self) -> Arc<Connection> {
        Arc::clone(&self.current.borrow())
    }

    /// Follows the replacements.
    pub(crate) fn follow(&self) -> watch::Receiver<Arc<Connection>> {
        self.current.subscribe()
    }

    /// Reads the files again, makes new connections when they have changed, and returns whether
    /// they have. Files that cannot be used leave everything as it is.
    pub(crate) fn refresh(&self) -> Result<bool, AmsError> {
        let (identity, trust) = read(&self.config)?;
        let present = self.current();
        if present.is_as_in(&identity, &trust) {
            return Ok(false);
        }
        check_dates(&self.config, &present, &identity, &trust)?;
        let connection = Connection::new(&self.config)?;
        if connection.fingerprint != present.fingerprint {
            log::info!(fingerprint:% = connection.fingerprint; "ams: our certificate was replaced");
        }
        if !is_same(&connection.trust, &present.trust) {
            log::info!("ams: the trusted certificates of the server were replaced");
        }
        self.current.send_replace(Arc::new(connection));
        Ok(true)
    }
}
