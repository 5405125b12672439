//! Making a connection to NATS, and saying in one sentence why it cannot be made.

use std::time::Duration;

use async_nats::{AuthError, ConnectErrorKind, ConnectOptions, Event};
use stream_pki::{Identity, Trust, client_config};
use stream_protocol::error_chain;
use stream_supervisor::Backoff;
use tokio::sync::watch;

use crate::connection::Connection;
use crate::credentials::Credentials;
use crate::{Config, ConfigError};

/// The pauses between attempts to connect, and to check the store.
pub(crate) const RECONNECT: Backoff =
    Backoff::new(Duration::from_millis(200), Duration::from_secs(3));

/// How long TCP, TLS and the greeting of the server may take each, and every request of the client.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

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
            .ping_interval(PING_INTERVAL)
            .reconnect_delay_callback(|failures| {
                RECONNECT.after(u32::try_from(failures).unwrap_or(u32::MAX))
            }))
    }
}

/// Connects once. `on_event` hears of every later loss and return of the connection.
///
/// # Errors
///
/// One sentence with the key of the configuration to look at.
pub(crate) async fn connect(
    config: &Config,
    unit: &str,
    on_event: impl Fn(Event) + Send + Sync + 'static,
) -> Result<Connection, String> {
    // Read anew each time: a certificate replaced meanwhile counts.
    let options = config.options().map_err(|error| error_chain(&error))?;
    let (connects, counted) = watch::channel(0);
    let on_event = move |event| {
        if matches!(event, Event::Connected) {
            connects.send_modify(|connects| *connects += 1);
        }
        on_event(event);
        std::future::ready(())
    };
    let attempt = options.name(unit).event_callback(on_event).connect(&config.servers);
    let client = match tokio::time::timeout(CONNECT_TIMEOUT * 2, attempt).await {
        Ok(Ok(client)) => client,
        Ok(Err(error)) => return Err(explain(&error)),
        Err(_) => return Err("the server does not finish the connection".into()),
    };
    check_version(&client.server_info().version)?;
    Ok(Connection::new(client, counted))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_without_batches_are_refused() {
        assert!(check_version("2.11.0").is_ok() && check_version("2.15.1").is_ok());
        assert!(check_version("2.10.29").is_err() && check_version("").is_err());
    }
}
