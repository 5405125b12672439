use std::path::PathBuf;

use serde::Deserialize;
use stream_pki::Seal;

use crate::{TurnError, secret};

/// Shorter than this, a credential may end before a connection stands.
const MIN_LIFETIME_S: u64 = 10;

/// The STUN and TURN servers that clients and instances are given.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Relays. Defaults to none: then only direct connections are possible.
    #[serde(default)]
    pub servers: Vec<Server>,
    /// STUN servers, `stun:host:port`. Defaults to none.
    #[serde(default)]
    pub stun: Vec<String>,
    /// Seconds a credential is good for, at least 10. The relay checks it again while a stream
    /// runs, so it must outlast the stream or be renewed. Defaults to 3600.
    #[serde(default = "an_hour")]
    pub lifetime_s: u64,
    /// File with the key under which the agents seal the relay secret in NATS; text of at least 32
    /// bytes, the same on all nodes.
    pub sealing_key: PathBuf,
    /// File with the first relay secret: visible ASCII text of at least 64 bytes, as it stands in
    /// the relays' configuration. Used once, by the first agent that finds no secret in NATS; need
    /// not exist on the others.
    pub first_secret: PathBuf,
    /// Directory for the highest generation of the secret seen so far.
    pub state: PathBuf,
}

/// One relay; its URLs are ways to the same one.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// `turn:host:port?transport=udp`, `turns:host:port?transport=tcp` and the like; at least one.
    pub urls: Vec<String>,
}

fn an_hour() -> u64 {
    3600
}

impl Config {
    /// Refuses what cannot work, naming the key and the remedy, and, when there are relays, secret
    /// files that cannot be used.
    pub fn check(&self) -> Result<(), TurnError> {
        self.check_values()?;
        if !self.servers.is_empty() {
            secret::check_first(&self.first_secret)?;
            Seal::load(&self.sealing_key)?;
        }
        Ok(())
    }

    fn check_values(&self) -> Result<(), TurnError> {
        let refuse = |text: String| Err(TurnError::Config(text));
        if self.lifetime_s < MIN_LIFETIME_S {
            return refuse(format!("turn.lifetime_s is at least {MIN_LIFETIME_S}"));
        }
        if self.servers.iter().any(|server| server.urls.is_empty()) {
            return refuse(
                "turn.servers has one without urls: name at least one, or remove it".into(),
            );
        }
        let urls = self.servers.iter().flat_map(|server| &server.urls);
        if let Some(url) = urls.into_iter().find(|url| !has_scheme(url, ["turn:", "turns:"])) {
            return refuse(format!("turn.servers: {url} is not of the form turn:host:port"));
        }
        if let Some(url) = self.stun.iter().find(|url| !has_scheme(url, ["stun:", "stuns:"])) {
            return refuse(format!("turn.stun: {url} is not of the form stun:host:port"));
        }
        Ok(())
    }
}

/// Whether `url` is one of the schemes and something behind it. Browsers throw at any other.
fn has_scheme(url: &str, schemes: [&str; 2]) -> bool {
    let rest = schemes.iter().find_map(|scheme| url.strip_prefix(scheme));
    rest.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_graphic()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        let json = r#"{"sealing_key":"sealing.key","first_secret":"turn.secret","state":"state"}"#;
        serde_json::from_str(json).unwrap()
    }

    fn relay(url: &str) -> Config {
        Config { servers: vec![Server { urls: vec![url.into()] }], ..config() }
    }

    #[test]
    fn what_is_left_out_has_a_default_that_works() {
        let config = config();
        assert_eq!(config.lifetime_s, 3600);
        assert!(config.servers.is_empty() && config.stun.is_empty());
        assert!(config.check_values().is_ok());
    }

    #[test]
    fn what_cannot_work_is_refused_by_its_key() {
        assert!(relay("turns:turn.example.org:5349?transport=tcp").check_values().is_ok());
        let no_urls = Config { servers: vec![Server { urls: vec![] }], ..config() };
        let stun = |url: &str| Config { stun: vec![url.into()], ..config() };
        for (refused, key) in [
            (Config { lifetime_s: 9, ..config() }, "turn.lifetime_s"),
            (no_urls, "turn.servers"),
            (relay("turn.example.org:3478"), "turn.servers"),
            (relay("stun:turn.example.org:3478"), "turn.servers"),
            (relay("turn:"), "turn.servers"),
            (relay("turn:a b"), "turn.servers"),
            (stun("turn:turn.example.org:3478"), "turn.stun"),
        ] {
            let sentence = refused.check_values().unwrap_err().to_string();
            assert!(sentence.starts_with(key), "{sentence}");
        }
    }
}
