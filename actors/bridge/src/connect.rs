//! Making a connection to NATS, and saying in one sentence why it cannot be made.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use async_nats::{
    AuthError, ConnectErrorKind, ConnectOptions, Event, ReconnectToServer, ServerAddr, ServerInfo,
};
use parking_lot::Mutex;
use stream_protocol::subjects::NatsUser;
use stream_protocol::{MAX_SIGNAL_BYTES, error_chain};
use stream_supervisor::Backoff;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::connection::Connection;
use crate::credentials::Credentials;
use crate::dial::Dialer;
use crate::log_watch::LogWatch;
use crate::metrics::NatsMetrics;
use crate::store_health::StoreHealth;
use crate::tls_files::TlsFiles;
use crate::{Config, ConfigError};

/// The pauses between attempts to connect, and to check the store.
pub(crate) const RECONNECT: Backoff =
    Backoff::new(Duration::from_millis(200), Duration::from_secs(3));

/// How long TCP, TLS and the greeting of the server may take each, and every request of the client.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The largest message that we send: a signal, what is written around it, and its headers.
const MIN_PAYLOAD_BYTES: usize = MAX_SIGNAL_BYTES + 8192;

/// How often the client asks whether the server is still there.
const PING_INTERVAL: Duration = Duration::from_secs(10);

impl Config {
    /// Checks the configuration and the files it names, without connecting.
    ///
    /// # Errors
    ///
    /// What cannot work, with the key and the remedy.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.servers.is_empty() {
            return Err(ConfigError::NoServers);
        }
        if let Some(server) = self.servers.iter().find(|server| !server.starts_with("tls://")) {
            return Err(ConfigError::NotTls(server.clone()));
        }
        let logins = [&self.token, &self.credentials, &self.nkey];
        if logins.into_iter().flatten().count() > 1 {
            return Err(ConfigError::TwoLogins);
        }
        if self.certificate.is_some() != self.key.is_some() {
            return Err(ConfigError::HalfCertificate);
        }
        self.addresses()?;
        TlsFiles::read(self, &NatsMetrics::default())?;
        self.options().map(drop)
    }

    /// Returns the servers; refuses what is no address.
    fn addresses(&self) -> Result<Vec<ServerAddr>, ConfigError> {
        let read = |server: &String| {
            let address = server.parse::<ServerAddr>().ok();
            let address = address.filter(|address| !address.host().is_empty());
            address.ok_or_else(|| ConfigError::NotTls(server.clone()))
        };
        self.servers.iter().map(read).collect()
    }

    /// Reads the credentials and returns what to connect with, beside TLS.
    fn options(&self) -> Result<ConnectOptions, ConfigError> {
        let options = match Credentials::of(self) {
            Some(credentials) => {
                // What cannot work is said now, not at the first connect.
                credentials.answer(b"")?;
                ConnectOptions::with_auth_callback(move |nonce| {
                    let answer = credentials.answer(&nonce).map_err(|error| {
                        let sentence = error_chain(&error);
                        log::warn!("nats: {sentence}");
                        AuthError::new(sentence)
                    });
                    std::future::ready(answer)
                })
            }
            None => ConnectOptions::new(),
        };
        Ok(options
            .require_tls(true)
            // The server would send its greeting in plain text otherwise.
            .tls_first()
            .connection_timeout(CONNECT_TIMEOUT)
            .request_timeout(Some(CONNECT_TIMEOUT))
            .ping_interval(PING_INTERVAL)
            // Whoever decides where to connect paces the attempts.
            .reconnect_delay_callback(|_| Duration::ZERO))
    }
}

/// What to connect with.
#[derive(Clone)]
pub(crate) struct ConnectConfig {
    pub(crate) user: NatsUser,
    pub(crate) config: Config,
    /// All connections of a process follow the files together.
    pub(crate) tls: Arc<TlsFiles>,
    /// The name of the connection, as the server shows it.
    pub(crate) unit: String,
    pub(crate) health: StoreHealth,
    pub(crate) log_watch: LogWatch,
    /// How many messages of one subscription wait to be taken; more are dropped.
    pub(crate) subscription_capacity: usize,
}

/// Decides where the client of NATS connects, at each of its attempts.
struct ServerChoice<F> {
    dialer: Dialer,
    tls: Arc<TlsFiles>,
    /// The server that was found before there was a client.
    first: Mutex<Option<ServerAddr>>,
    /// Attempts since the last connect.
    attempts: Arc<AtomicU32>,
    /// Hears why none could be found.
    on_failure: F,
}

impl<F: Fn(String)> ServerChoice<F> {
    /// Waits until one of `pool` answers, and returns it.
    async fn choose(self: Arc<Self>, pool: Vec<ServerAddr>) -> Option<ReconnectToServer> {
        let at_once = |addr| Some(ReconnectToServer { addr, delay: Some(Duration::ZERO) });
        if let Some(first) = self.first.lock().take() {
            return at_once(first);
        }
        loop {
            // Never without a pause: a server that answers may still refuse our login.
            sleep(RECONNECT.after(self.attempts.fetch_add(1, Relaxed).saturating_add(1))).await;
            // What was replaced while the connection stood counts from here on.
            self.tls.refresh();
            match self.dialer.find(&pool).await {
                Ok(found) => return at_once(found),
                Err(causes) => (self.on_failure)(causes),
            }
        }
    }
}

/// Connects once, to the server that answers first. `on_event` hears of every later loss and return
/// of the connection, `on_failure` why a lost one could not be made again yet.
///
/// # Errors
///
/// One sentence with the key of the configuration to look at.
pub(crate) async fn connect(
    connect_config: &ConnectConfig,
    on_event: impl Fn(Event) + Send + Sync + 'static,
    on_failure: impl Fn(String) + Send + Sync + 'static,
) -> Result<Connection, String> {
    let ConnectConfig { user, config, tls: files, unit, health, log_watch, .. } = connect_config;
    // Read anew each time: a certificate replaced meanwhile counts.
    let sentence = |error: ConfigError| error_chain(&error);
    let options = config.options().map_err(sentence)?;
    files.refresh();
    let tls = files.client_config().map_err(sentence)?;
    let dialer = Dialer::new(tls.clone(), &config.addresses().map_err(sentence)?).await;
    let pool = dialer.pool();
    let first = Mutex::new(Some(dialer.find(&pool).await?));
    let attempts = Arc::<AtomicU32>::default();
    let counted_attempts = Arc::clone(&attempts);
    let choice = Arc::new(ServerChoice {
        dialer,
        tls: Arc::clone(files),
        first,
        attempts: counted_attempts,
        on_failure,
    });

    let (connects, counted) = watch::channel(0);
    let on_event = move |event| {
        if matches!(event, Event::Connected) {
            attempts.store(0, Relaxed);
            connects.send_modify(|connects| *connects += 1);
        }
        on_event(event);
        std::future::ready(())
    };
    let attempt = options
        .name(unit)
        .custom_inbox_prefix(user.inbox())
        .subscription_capacity(connect_config.subscription_capacity)
        .event_callback(on_event)
        // The library loads the authorities of the system as well, at each connect and for
        // nothing: it trusts none but those of this configuration.
        .tls_client_config(tls)
        .reconnect_to_server_callback(move |servers, _| {
            let pool = servers.into_iter().map(|server| server.addr).collect();
            Arc::clone(&choice).choose(pool)
        })
        .connect(pool);
    let client = match tokio::time::timeout(CONNECT_TIMEOUT * 2, attempt).await {
        Ok(Ok(client)) => client,
        Ok(Err(error)) => return Err(explain(&error)),
        Err(_) => return Err("the server does not finish the connection".into()),
    };
    check_server(&client.server_info())?;
    Ok(Connection::new(client, counted, health.clone(), log_watch.clone()))
}

/// Connects as `user`, for a command that is called `unit` and asks a few things.
///
/// # Errors
///
/// One sentence with the key of the configuration to look at.
pub(crate) async fn connect_once(
    user: NatsUser,
    config: Config,
    unit: &str,
) -> Result<Connection, String> {
    let tls =
        TlsFiles::read(&config, &NatsMetrics::default()).map_err(|error| error_chain(&error))?;
    let config = ConnectConfig {
        user,
        config,
        tls: Arc::new(tls),
        unit: unit.to_owned(),
        health: StoreHealth::default(),
        log_watch: LogWatch::default(),
        subscription_capacity: 1,
    };
    connect(&config, |_| (), |_| ()).await
}

/// Connects once as `user` and leaves: tells whether a unit with this configuration would reach
/// NATS. Nothing is stored or changed there. Returns the name and the version of the server.
///
/// # Errors
///
/// One sentence with the key of the configuration to look at.
pub async fn try_connect(user: NatsUser, config: Config) -> Result<String, String> {
    let connection = connect_once(user, config, "check-config").await?;
    let server = connection.client.server_info();
    Ok(format!("{}, nats-server {}", server.server_name, server.version))
}

/// Refuses a server that cannot carry what we say: one without batches of messages, or with room
/// for less than a signal.
///
/// # Errors
///
/// One sentence with what it has and what is needed.
pub(crate) fn check_server(server: &ServerInfo) -> Result<(), String> {
    check_version(&server.version)?;
    if server.max_payload < MIN_PAYLOAD_BYTES {
        return Err(format!(
            "nats-server takes messages of at most {} bytes and has to take {MIN_PAYLOAD_BYTES}: \
             raise max_payload there, or the limit of our account",
            server.max_payload
        ));
    }
    Ok(())
}

/// Refuses a server before 2.11: a batch of messages cannot be fetched there at once.
fn check_version(version: &str) -> Result<(), String> {
    let mut numbers = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let (major, minor) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if (major, minor) < (2, 11) {
        return Err(format!("nats-server {version} is too old: at least 2.11 is needed"));
    }
    Ok(())
}

fn explain(error: &async_nats::ConnectError) -> String {
    let remedy = match error.kind() {
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
            "the server refuses our login, check nats.token or nats.credentials or nats.nkey"
        }
        ConnectErrorKind::TimedOut => "the server does not answer",
        // TLS and names were settled before, by whoever found the server.
        _ => "no connection",
    };
    format!("{remedy} ({})", error_chain(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_logins_none_is_taken() {
        let file = || Some(std::path::PathBuf::from("/none"));
        let config = |token, credentials, nkey| Config {
            servers: vec!["tls://localhost:4222".to_owned()],
            ca: "/none".into(),
            token,
            credentials,
            nkey,
            certificate: None,
            key: None,
            replicas: 1,
        };
        for config in [
            config(file(), None, file()),
            config(None, file(), file()),
            config(file(), file(), None),
        ] {
            let sentence = config.check().expect_err("refused").to_string();
            assert!(sentence.contains("exclude each other"), "{sentence}");
        }
        let alone = config(None, None, file()).check().expect_err("there are no files");
        assert!(!matches!(alone, ConfigError::TwoLogins), "{alone}");
    }

    #[test]
    fn servers_without_batches_are_refused() {
        assert!(check_version("2.11.0").is_ok() && check_version("2.15.1").is_ok());
        assert!(check_version("2.10.29").is_err() && check_version("").is_err());
    }

    #[test]
    fn a_server_that_cannot_carry_a_signal_is_refused_with_the_numbers() {
        let server = |max_payload| ServerInfo {
            version: "2.15.1".to_owned(),
            max_payload,
            ..ServerInfo::default()
        };
        assert_eq!(check_server(&server(1 << 20)), Ok(()));
        let why = check_server(&server(65536)).expect_err("refused");
        assert!(why.contains("65536") && why.contains("270336"), "{why}");
    }
}
