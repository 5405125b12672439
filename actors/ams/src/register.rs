//! Puts our certificate into the [trust store] of AMS, which an
//! operator does once.
//!
//! [trust store]: stream_protocol::manual::wire#trust-store

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use serde_json::json;

use crate::Config;
use crate::client::AmsClient;
use crate::error::AmsError;
use crate::probe::probe;

/// What became of a registration.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Registered {
    Added,
    /// AMS trusted the certificate already.
    Already,
}

/// Asks AMS once what it is: tells whether an agent with this configuration would reach it, and be
/// trusted.
///
/// # Errors
///
/// [`AmsError::Unreachable`] says what keeps us from it, [`AmsError::TimedOut`] that it is mute.
pub async fn try_connect(config: &Config) -> Result<(), AmsError> {
    probe(&AmsClient::new(config)?).await.map(drop)
}

/// Has AMS trust our certificate, by the trust password that is set there. Only a server whose
/// certificate is trusted sees the password.
///
/// # Errors
///
/// Refuses when AMS does not take the password, and when it does not trust us in spite of it.
pub async fn register(config: &Config, password: &str) -> Result<Registered, AmsError> {
    let client = AmsClient::new(config)?;
    if client.server_info(client.timeout()).await?.trusts_us() {
        return Ok(Registered::Already);
    }
    let certificate = STANDARD.encode(&client.connections().current().certificate);
    let body = json!({ "certificate": certificate, "trust-password": password });
    let answered = client.request(Method::POST, client.url(&["certificates"]), Some(body)).await?;
    let registered = match answered.open() {
        Ok(answer) => {
            if let Some(operation) = answer.operation() {
                client.wait(operation).await?;
            }
            Registered::Added
        }
        // Somebody else has just done it.
        Err(AmsError::Conflict) => Registered::Already,
        Err(AmsError::Unreachable(_)) if matches!(answered.status, 401 | 403) => {
            let text = "the trust password is wrong, or ams has none (core.trust_password)";
            return Err(AmsError::Refused { code: answered.status, text: text.to_owned() });
        }
        Err(error) => return Err(error),
    };
    probe(&client).await?;
    Ok(registered)
}
