//! The part of the [configuration] of AMS that names the agent which AMS asks for sessions:
//! `agent.api.url`, `agent.api.token` and `agent.api.fingerprint`.
//!
//! [configuration]: stream_protocol::manual::wire#ams-configuration

use std::collections::BTreeMap;

use reqwest::{Method, Url};
use serde::Deserialize;
use serde_json::{Value, json};
use stream_pki::Fingerprint;
use stream_protocol::printable;

use crate::Config;
use crate::client::AmsClient;
use crate::error::AmsError;
use crate::probe::probe;
use crate::response::MAX_TEXT;

const FINGERPRINT: &str = "agent.api.fingerprint";
const TOKEN: &str = "agent.api.token";
const URL: &str = "agent.api.url";

/// What AMS knows of the agent that it asks for sessions.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct AgentApi {
    /// Empty when AMS asks nobody.
    pub url: String,
    /// Of the certificate that AMS expects there; `None` when it expects none that can be.
    pub fingerprint: Option<Fingerprint>,
    pub has_token: bool,
}

/// What is to be set of it; what is `None` stays as it is.
#[derive(Clone, Copy, Default)]
pub struct AgentApiUpdate<'a> {
    pub url: Option<&'a str>,
    pub token: Option<&'a str>,
    pub fingerprint: Option<Fingerprint>,
}

/// What became of the fingerprint that an agent has for AMS.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PinUpdate {
    /// AMS asks another agent, or none: it is told nothing.
    NotNamed,
    /// AMS has it already.
    Same,
    Set,
}

#[derive(Deserialize)]
struct Configuration {
    /// An AMS of a later version may have values that are no text.
    config: BTreeMap<String, Value>,
}

impl AgentApi {
    fn of(configuration: &Configuration) -> Self {
        let text = |name| configuration.config.get(name).and_then(Value::as_str).unwrap_or("");
        Self {
            url: printable(text(URL), MAX_TEXT),
            fingerprint: text(FINGERPRINT).parse().ok(),
            has_token: !text(TOKEN).is_empty(),
        }
    }

    /// Whether AMS asks the agent at `url`: the host and the port are those of it.
    pub fn names(&self, url: &str) -> bool {
        let place = |text: &str| {
            let url = Url::parse(text).ok()?;
            Some((url.host()?.to_owned(), url.port_or_known_default()?))
        };
        place(&self.url).is_some_and(|named| place(url) == Some(named))
    }

    /// Returns what is to be done for the agent at `url`, which shows `fingerprint`.
    fn pin_update(&self, url: &str, fingerprint: Fingerprint) -> PinUpdate {
        match self.names(url) {
            false => PinUpdate::NotNamed,
            true if self.fingerprint == Some(fingerprint) => PinUpdate::Same,
            true => PinUpdate::Set,
        }
    }
}

impl AmsClient {
    pub(crate) async fn agent_api(&self) -> Result<AgentApi, AmsError> {
        let answered = self.request(Method::GET, self.url(&["config"]), None).await?;
        Ok(AgentApi::of(&answered.open()?.read()?))
    }

    /// Has AMS expect `fingerprint` of the agent at `url`, if that is whom it asks.
    pub(crate) async fn pin_agent(
        &self,
        url: &str,
        fingerprint: Fingerprint,
    ) -> Result<PinUpdate, AmsError> {
        let found = match self.agent_api().await {
            // One that has no configuration asks nobody.
            Err(AmsError::NotFound) => AgentApi::default(),
            found => found?,
        };
        let update = found.pin_update(url, fingerprint);
        if update == PinUpdate::Set {
            let fingerprint = Some(fingerprint);
            self.set_agent_api(AgentApiUpdate { fingerprint, ..AgentApiUpdate::default() }).await?;
        }
        Ok(update)
    }

    async fn set_agent_api(&self, update: AgentApiUpdate<'_>) -> Result<(), AmsError> {
        let AgentApiUpdate { url, token, fingerprint } = update;
        let fingerprint = fingerprint.map(|fingerprint| fingerprint.to_string());
        // The token is good at every agent, so that the two which must fit change in a row. An AMS
        // that asked nobody asks nobody before it knows all.
        let items = [(TOKEN, token), (FINGERPRINT, fingerprint.as_deref()), (URL, url)];
        for (name, value) in items {
            let Some(value) = value else { continue };
            let item = json!({ "name": name, "value": value });
            let answered = self.request(Method::PATCH, self.url(&["config"]), Some(item)).await?;
            if let Some(operation) = answered.open()?.operation() {
                self.wait(operation).await?;
            }
        }
        Ok(())
    }
}

/// Asks AMS once which agent it asks for sessions.
///
/// # Errors
///
/// Those of [`try_connect`](crate::try_connect), and [`AmsError::Unreachable`] when AMS does not
/// let us see it.
pub async fn agent_api(config: &Config) -> Result<AgentApi, AmsError> {
    let client = AmsClient::new(config)?;
    probe(&client).await?;
    client.agent_api().await
}

/// Has AMS ask another agent, or in another way. A failure may leave a part of it done.
///
/// # Errors
///
/// [`AmsError::Unreachable`] when AMS does not let us change it, [`AmsError::Refused`] when it
/// takes no such value.
pub async fn set_agent_api(config: &Config, update: AgentApiUpdate<'_>) -> Result<(), AmsError> {
    AmsClient::new(config)?.set_agent_api(update).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_is_named_by_its_host_and_its_port() {
        let named = |url: &str| AgentApi { url: url.to_owned(), ..AgentApi::default() };
        let ours = "https://agent-1.example.org:9033";
        for same in
            [ours, "https://AGENT-1.example.org:9033/", "https://agent-1.example.org:9033/x"]
        {
            assert!(named(same).names(ours), "{same}");
        }
        assert!(named("https://a.example.org").names("https://a.example.org:443"));
        assert!(named("https://[::1]:9033").names("https://[0:0::1]:9033/"));
        for other in [
            "",
            "agent-1.example.org:9033",
            "https://agent-1.example.org",
            "https://agent-1.example.org:9034",
            "https://agent-2.example.org:9033",
        ] {
            assert!(!named(other).names(ours), "{other}");
        }
        assert!(!named("").names(""), "nobody is no agent");
    }

    #[test]
    fn only_the_agent_that_is_named_sets_what_differs() {
        let [ours, others] = [[7; 32], [8; 32]].map(Fingerprint);
        let found = |url: &str, fingerprint| {
            let found = AgentApi { url: url.to_owned(), fingerprint, has_token: true };
            found.pin_update("https://a:9033", ours)
        };
        assert_eq!(found("https://a:9033", Some(ours)), PinUpdate::Same);
        assert_eq!(found("https://a:9033/", Some(others)), PinUpdate::Set);
        assert_eq!(found("https://a:9033", None), PinUpdate::Set);
        for url in ["https://b:9033", "https://a:9034", ""] {
            assert_eq!(found(url, Some(others)), PinUpdate::NotNamed, "{url}");
            assert_eq!(found(url, None), PinUpdate::NotNamed, "{url}");
        }
    }

    #[test]
    fn what_ams_has_is_read_whatever_else_there_is_and_no_token_is_kept() {
        let read = |text| AgentApi::of(&serde_json::from_str(text).expect("a configuration"));
        let hex = "ab".repeat(32);
        let text = format!(
            r#"{{"config":{{"agent.api.url":"https://a:1\u001b[2J","agent.api.token":"sesame",
               "agent.api.fingerprint":"{hex}","core.later":{{"a":[1]}}}},"more":1}}"#
        );
        let found = read(&text);
        assert_eq!((found.url.as_str(), found.has_token), ("https://a:1[2J", true));
        assert_eq!(found.fingerprint, hex.parse().ok());
        assert!(!format!("{found:?}").contains("sesame"));
        assert_eq!(read(r#"{"config":{"agent.api.fingerprint":"ab"}}"#), AgentApi::default());
        // Of 1.21 and before.
        assert_eq!(read(r#"{"config":{}}"#), AgentApi::default());
    }
}
