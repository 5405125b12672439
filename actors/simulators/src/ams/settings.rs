//! The [configuration] of AMS: names and values, all text.
//!
//! [configuration]: stream_protocol::manual::wire#ams-configuration

use std::collections::BTreeMap;

use reqwest::Url;
use stream_pki::Fingerprint;

use super::error::ApiError;

pub(crate) const AGENT_FINGERPRINT: &str = "agent.api.fingerprint";
pub(crate) const AGENT_TOKEN: &str = "agent.api.token";
pub(crate) const AGENT_URL: &str = "agent.api.url";
const AUTO_PUBLISH: &str = "application.auto_publish";
const MAX_REQUESTS: &str = "core.max_requests_per_second";
pub(crate) const TRUST_PASSWORD: &str = "core.trust_password";

/// Every name there is, with its default. A real AMS takes 1,000 requests a second; here 0 is no
/// limit, so that a bench measures what it is about.
const DEFAULTS: [(&str, &str); 7] = [
    (AGENT_FINGERPRINT, ""),
    (AGENT_TOKEN, ""),
    (AGENT_URL, ""),
    (AUTO_PUBLISH, "true"),
    (MAX_REQUESTS, "0"),
    (TRUST_PASSWORD, ""),
    ("load_balancer.url", ""),
];

/// No value is longer, in bytes.
const MAX_VALUE_BYTES: usize = 4096;

/// The values as they are now; none is ever missing.
pub(crate) struct Settings(BTreeMap<&'static str, String>);

impl Default for Settings {
    fn default() -> Self {
        Self(DEFAULTS.into_iter().map(|(name, value)| (name, value.to_owned())).collect())
    }
}

/// The agent that is called for every instance that streams.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Agent {
    pub(crate) url: String,
    pub(crate) token: String,
    pub(crate) pin: Fingerprint,
}

impl Settings {
    /// Sets one value. Refuses a name that there is not, and a value that makes no sense.
    pub(crate) fn set(&mut self, name: &str, value: String) -> Result<(), ApiError> {
        let makes_sense = value.len() <= MAX_VALUE_BYTES
            && match name {
                AGENT_FINGERPRINT => value.is_empty() || value.parse::<Fingerprint>().is_ok(),
                AGENT_URL => value.is_empty() || is_https(&value),
                AUTO_PUBLISH => value.parse::<bool>().is_ok(),
                MAX_REQUESTS => value.parse::<u32>().is_ok(),
                _ => true,
            };
        let kept = self.0.get_mut(name).ok_or(ApiError::NotFound("config item"))?;
        if !makes_sense {
            return Err(ApiError::Invalid("value"));
        }
        *kept = value;
        Ok(())
    }

    pub(crate) fn all(&self) -> &BTreeMap<&'static str, String> {
        &self.0
    }

    /// Returns whom to call for an instance that streams; nobody until all three are set.
    pub(crate) fn agent(&self) -> Option<Agent> {
        let (url, token) = (self.get(AGENT_URL), self.get(AGENT_TOKEN));
        let pin = self.get(AGENT_FINGERPRINT).parse().ok()?;
        let is_set = !url.is_empty() && !token.is_empty();
        is_set.then(|| Agent { url: url.to_owned(), token: token.to_owned(), pin })
    }

    /// Whether a new version of an application is published as soon as it is ready.
    pub(crate) fn publishes(&self) -> bool {
        self.get(AUTO_PUBLISH) == "true"
    }

    /// How many requests a second are taken; `None` is any number.
    pub(crate) fn max_requests(&self) -> Option<u32> {
        self.get(MAX_REQUESTS).parse().ok().filter(|max| *max > 0)
    }

    /// Whether `password` lets an untrusted client add a certificate. Without one none does.
    pub(crate) fn opens_to(&self, password: &str) -> bool {
        let wanted = self.get(TRUST_PASSWORD);
        !wanted.is_empty() && wanted == password
    }

    fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }
}

fn is_https(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| url.scheme() == "https" && url.has_host())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_password_the_trust_store_opens_to_nobody() {
        let mut settings = Settings::default();
        assert!(!settings.opens_to(""));
        settings.set(TRUST_PASSWORD, "sesame".to_owned()).expect("a value");
        assert!(settings.opens_to("sesame"));
        assert!(!settings.opens_to("sesam") && !settings.opens_to(""));
    }

    #[test]
    fn a_value_that_makes_no_sense_changes_nothing() {
        let mut settings = Settings::default();
        for (name, value) in [
            (AGENT_URL, "http://agent:9033"),
            (AGENT_URL, "agent"),
            (AGENT_FINGERPRINT, "ab"),
            (AUTO_PUBLISH, "yes"),
            (MAX_REQUESTS, "-1"),
            (AGENT_TOKEN, &"x".repeat(MAX_VALUE_BYTES + 1)),
        ] {
            let refused = settings.set(name, value.to_owned());
            assert_eq!(refused, Err(ApiError::Invalid("value")), "{name} = {value}");
        }
        assert_eq!(settings.all(), Settings::default().all());
        let unknown = settings.set("core.nonsense", String::new());
        assert_eq!(unknown, Err(ApiError::NotFound("config item")));
    }

    #[test]
    fn an_agent_is_called_once_all_of_it_is_known() {
        let mut settings = Settings::default();
        let pin = "ab".repeat(32);
        for (name, value) in
            [(AGENT_URL, "https://agent:9033"), (AGENT_TOKEN, "t"), (AGENT_FINGERPRINT, &pin)]
        {
            assert_eq!(settings.agent(), None);
            settings.set(name, value.to_owned()).expect("a value");
        }
        let agent = settings.agent().expect("an agent");
        assert_eq!((agent.url.as_str(), agent.token.as_str()), ("https://agent:9033", "t"));
        settings.set(AGENT_URL, String::new()).expect("a value");
        assert_eq!(settings.agent(), None);
    }
}
