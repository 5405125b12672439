//! Making the connection, and saying in one sentence why it cannot be made.

use std::error::Error;
use std::time::Duration;

use actix::Message;
use async_nats::client::{FlushError, FlushErrorKind};
use async_nats::{AuthError, Client, ConnectErrorKind, ConnectOptions, Event};
use stream_pki::{Identity, Trust, client_config};

use crate::credentials::Credentials;
use crate::{Config, ConfigError};

/// The first pause after a failed attempt; doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// How long one attempt, and one question to the server, may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How often the task of a client is looked at.
const CLIENT_POLL: Duration = Duration::from_secs(1);

/// Whether NATS is connected, and if not, why.
#[derive(Clone, Debug)]
pub struct ConnectionStatus {
    pub connected: bool,
    /// The name of the server, if it is connected.
    pub server: Option<String>,
    pub error: Option<String>,
}

/// Asks for the [`ConnectionStatus`].
#[derive(Message)]
#[rtype(result = "ConnectionStatus")]
pub(crate) struct GetStatus;

impl Config {
    /// Refuses what cannot work, without connecting.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.servers.is_empty() {
            return Err(ConfigError::NoServers);
        }
        if let Some(server) = self.servers.iter().find(|server| !server.starts_with("tls://")) {
            return Err(ConfigError::NotTls(server.clone()));
        }
        if self.token.is_some() && self.credentials.is_some() {
            return Err(ConfigError::TwoLogins);
        }
        if self.certificate.is_some() != self.key.is_some() {
            return Err(ConfigError::HalfCertificate);
        }
        self.options().map(drop)
    }

    /// Reads the files and returns what to connect with.
    fn options(&self) -> Result<ConnectOptions, ConfigError> {
        let trust = Trust::from_ca_file(&self.ca).map_err(ConfigError::Tls)?;
        let identity = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => {
                Some(Identity::load(certificate, key).map_err(ConfigError::Tls)?)
            }
            _ => None,
        };
        let tls = client_config(&trust, identity.as_ref()).map_err(ConfigError::Tls)?;
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
            // The library loads the authorities of the system as well, at each connect and for
            // nothing: it trusts none but those of this configuration.
            .tls_client_config(tls)
            .connection_timeout(CONNECT_TIMEOUT)
            .request_timeout(Some(CONNECT_TIMEOUT))
            .ping_interval(Duration::from_secs(10))
            .reconnect_delay_callback(backoff))
    }
}

/// Connects once. `on_event` hears of every later loss and return of the connection.
pub(crate) async fn connect(
    config: &Config,
    unit: &str,
    on_event: impl Fn(Event) + Clone + Send + Sync + 'static,
) -> Result<Client, String> {
    // Read anew each time: a certificate replaced meanwhile counts.
    let options = config.options().map_err(|error| error_chain(&error))?;
    let told = move |event| {
        on_event(event);
        std::future::ready(())
    };
    let attempt = options.name(unit).event_callback(told).connect(&config.servers);
    let client = match tokio::time::timeout(CONNECT_TIMEOUT * 2, attempt).await {
        Ok(Ok(client)) => client,
        Ok(Err(error)) => return Err(explain(&error)),
        Err(_) => return Err("the server does not finish the connection".into()),
    };
    check_version(&client.server_info().version)?;
    Ok(client)
}

/// Returns when the task of `client` has ended, which makes a lost connection again.
pub(crate) async fn client_ended(client: &Client) {
    // Waits while the connection is lost.
    let is_gone = |error: FlushError| error.kind() == FlushErrorKind::SendError;
    while !client.flush().await.is_err_and(is_gone) {
        tokio::time::sleep(CLIENT_POLL).await;
    }
}

/// Returns how long to wait before the attempt after `attempts` failed ones.
pub(crate) fn backoff(attempts: usize) -> Duration {
    if attempts == 0 {
        return Duration::ZERO;
    }
    let doublings = u32::try_from(attempts - 1).unwrap_or(u32::MAX);
    let pause = FIRST_PAUSE.saturating_mul(2u32.saturating_pow(doublings)).min(LONGEST_PAUSE);
    // Units that lost the server together must not all come back in one moment.
    let mut byte = [0];
    let _ = ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut byte);
    pause.mul_f64(0.75 + f64::from(byte[0]) / 1020.0)
}

/// Before 2.11 a batch of messages cannot be fetched at once.
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
            "the server refuses our token or credentials, check nats.token or nats.credentials"
        }
        ConnectErrorKind::Tls => "TLS failed, check nats.ca",
        ConnectErrorKind::Dns => "the server's name is unknown, check nats.servers",
        ConnectErrorKind::TimedOut => "the server does not answer",
        _ if is_certificate_error(error) => "the server's certificate is refused, check nats.ca",
        _ => "no connection",
    };
    format!("{remedy} ({})", error_chain(error))
}

fn is_certificate_error(error: &async_nats::ConnectError) -> bool {
    error_chain(error).contains("certificate")
}

/// Writes an error with its sources, which do not repeat one another.
pub(crate) fn error_chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_are_spread() {
        assert_eq!(backoff(0), Duration::ZERO);
        assert!(backoff(1) <= FIRST_PAUSE && backoff(1) >= FIRST_PAUSE.mul_f64(0.7));
        assert!(backoff(5) > backoff(2));
        assert!(backoff(usize::MAX) <= LONGEST_PAUSE);
    }

    #[test]
    fn a_client_whose_task_has_ended_is_told_from_one_that_waits_for_its_server() {
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build();
        // Nobody listens there; the task tries for ever, as long as its runtime lives.
        let connect = || ConnectOptions::new().retry_on_initial_connect().connect("127.0.0.1:1");
        let within = Duration::from_millis(200);
        let (here, there) = (runtime().expect("a runtime"), runtime().expect("another"));
        here.block_on(async {
            let waiting = connect().await.expect("a client");
            assert!(tokio::time::timeout(within, client_ended(&waiting)).await.is_err());
        });
        let lost = there.block_on(connect()).expect("a client");
        drop(there);
        here.block_on(async {
            tokio::time::timeout(CONNECT_TIMEOUT, client_ended(&lost)).await.expect("it is told");
        });
    }

    #[test]
    fn servers_without_batches_are_refused() {
        assert!(check_version("2.11.0").is_ok() && check_version("2.15.1").is_ok());
        assert!(check_version("2.10.29").is_err() && check_version("").is_err());
    }
}
