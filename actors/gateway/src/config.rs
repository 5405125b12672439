//! The configuration of the gateway.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use nix::unistd::gethostname;
use serde::{Deserialize, Serialize};
use stream_bridge::MAX_SIGNAL_AGE;
use stream_protocol::Timestamp;

use crate::cors::CorsPolicy;
use crate::embed::EmbedPage;
use crate::error::GatewayError;
use crate::settings::{Item, Settings};
use crate::urls::Urls;

const MAX_WORKERS: usize = 64;

/// Whether a client came is judged by the signals of its session, while they are kept: 540.
const MAX_FIRST_CLIENT_S: u64 = MAX_SIGNAL_AGE.as_secs() * 9 / 10;

/// URLs end up in logs: a token in one is good for minutes.
const MAX_SOCKET_TOKEN_S: u64 = 300;

/// The section `[gateway]`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where HTTPS is served. Default `0.0.0.0:4000`.
    pub listen: SocketAddr,
    /// The URL that clients use, such as `https://stream.example.com`: the base of the URLs in
    /// answers. Default: the host that the request names.
    pub public_url: Option<String>,
    /// Threads that serve requests. Default 2.
    pub workers: usize,
    /// How long the token in a socket's URL is valid, in seconds; at most 300. Default 300.
    pub socket_token_s: u64,
    /// Between two reconnect tokens that the page gets over its open socket, in seconds; never
    /// more than half of `socket_token_s`. Default 60.
    #[serde(alias = "ticket_s")]
    pub reconnect_token_s: u64,
    /// How long a client whose socket has ended may take to return or to be connected, in seconds,
    /// until its instance is told that it has left. Default 30.
    pub client_grace_s: u64,
    /// Seconds that a session may run until its first client comes, unless it is joinable or says
    /// when it ends without a client; at most 540, and 0 is for ever. Default 300.
    pub first_client_s: u64,
    /// How long a joinable session waits for clients unless its request says, in minutes; 0 is for
    /// ever, 10080 the most. Default 30.
    pub idle_time_min: u32,
    /// The most shares of a session, 1 to 100, where those of type adb are counted apart. Default
    /// 5.
    pub shares_per_session: u32,
    /// The life of a share whose request says nothing of it, in hours, 1 to 720. Default 12.
    pub share_expiry_h: u32,
    /// Requests a second that one token may make on the average, 1 to 1000000; ten times as many
    /// may come at once. Default 50.
    pub requests_per_second: u32,
    /// Seconds between two joins through one share; 0 is no limit. Default 5.
    pub share_join_interval_s: u64,
    /// Seconds for which a browser that has reached us by a name insists on TLS there (RFC 6797); 0
    /// is never. Default 31536000.
    pub hsts_s: u64,
    /// Origins of web pages elsewhere that may call the API, such as `https://app.example.com`;
    /// `*` is any. Default: none.
    pub allowed_origins: Vec<String>,
    /// Origins of web pages elsewhere that may show the player in a frame, at `/embed/`. Default:
    /// none.
    pub embed_origins: Vec<String>,
    /// Whether `api_token=` in the query is taken like the header. Off by default: URLs end up in
    /// the logs of proxies.
    pub allow_token_in_query: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 4000)),
            public_url: None,
            workers: 2,
            socket_token_s: 300,
            reconnect_token_s: 60,
            client_grace_s: 30,
            first_client_s: 300,
            idle_time_min: 30,
            shares_per_session: 5,
            share_expiry_h: 12,
            requests_per_second: 50,
            share_join_interval_s: 5,
            hsts_s: 31_536_000,
            allowed_origins: Vec::new(),
            embed_origins: Vec::new(),
            allow_token_in_query: false,
        }
    }
}

impl Config {
    /// Returns what tells this gateway from others: the name of its machine, and its port.
    pub fn unit_name(&self) -> String {
        let machine = gethostname().ok().and_then(|name| name.into_string().ok());
        format!("{}:{}", machine.unwrap_or_default(), self.listen.port())
    }

    /// Returns what the URL of the page begins with, if a public URL is configured.
    pub fn page_base(&self) -> Option<String> {
        let urls = Urls::new(self.public_url.as_deref()).ok()?;
        urls.public_page_base()
    }

    /// Returns the values of what operators may change while the gateway runs.
    pub fn settings(&self) -> Settings {
        Settings {
            idle_time_min: self.idle_time_min,
            shares_per_session: self.shares_per_session,
            share_expiry_h: self.share_expiry_h,
            requests_per_second: self.requests_per_second,
        }
    }

    /// Checks the values.
    ///
    /// # Errors
    ///
    /// Refuses values outside their limits, a public URL that is none and an origin that no page
    /// has.
    pub fn check(&self) -> Result<(), GatewayError> {
        if !(1..=MAX_WORKERS).contains(&self.workers) {
            let sentence = format!("gateway.workers is between 1 and {MAX_WORKERS}");
            return Err(GatewayError::Config(sentence));
        }
        if !(1..=MAX_SOCKET_TOKEN_S).contains(&self.socket_token_s) || self.reconnect_token_s == 0 {
            return Err(GatewayError::Config(format!(
                "gateway.socket_token_s is between 1 and {MAX_SOCKET_TOKEN_S}, \
                 gateway.reconnect_token_s at least 1"
            )));
        }
        if self.first_client_s > MAX_FIRST_CLIENT_S {
            let sentence = format!("gateway.first_client_s is at most {MAX_FIRST_CLIENT_S}");
            return Err(GatewayError::Config(sentence));
        }
        for item in Item::ALL {
            let (key, range) = (item.key(), item.range());
            if !range.contains(&self.settings().get(item)) {
                let (least, most) = (range.start(), range.end());
                let sentence = format!("gateway.{key} is between {least} and {most}");
                return Err(GatewayError::Config(sentence));
            }
        }
        CorsPolicy::new(&self.allowed_origins)?;
        EmbedPage::new(&self.embed_origins)?;
        Urls::new(self.public_url.as_deref()).map(drop)
    }
}

/// How the tokens are made with which clients open their sockets again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ReconnectTokens {
    /// Between two tokens.
    pub(crate) interval: Duration,
    /// How long a token is valid.
    pub(crate) ttl: Duration,
}

impl ReconnectTokens {
    pub(crate) fn of(config: &Config) -> Self {
        let ttl = Duration::from_secs(config.socket_token_s);
        Self { interval: Duration::from_secs(config.reconnect_token_s).min(ttl / 2), ttl }
    }

    /// Returns when a token expires that is made at `now`.
    pub(crate) fn expiry(&self, now: Timestamp) -> Timestamp {
        now + self.ttl
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_its_default_and_unknown_ones_are_refused() {
        let config: Config = serde_json::from_str("{}").unwrap();
        assert_eq!(config.listen.port(), 4000);
        assert!(config.allowed_origins.is_empty() && !config.allow_token_in_query);
        let seconds = (config.socket_token_s, config.reconnect_token_s);
        assert_eq!((config.workers, seconds), (2, (300, 60)));
        assert!(serde_json::from_str::<Config>(r#"{"alowed_origins":[]}"#).is_err());
    }

    #[test]
    fn what_operators_may_change_is_within_its_range_in_the_file_as_well() {
        assert!(Config::default().check().is_ok());
        for key in ["shares_per_session", "share_expiry_h", "requests_per_second"] {
            let config: Config = serde_json::from_str(&format!(r#"{{"{key}":0}}"#)).unwrap();
            let refused = config.check().unwrap_err().to_string();
            assert!(refused.starts_with(&format!("gateway.{key} is between 1 and ")), "{refused}");
        }
        let config = Config { idle_time_min: 10_081, ..Config::default() };
        assert!(config.check().is_err());
    }

    #[test]
    fn the_former_name_of_a_key_still_counts() {
        let config: Config = serde_json::from_str(r#"{"ticket_s":7}"#).unwrap();
        assert_eq!(config.reconnect_token_s, 7);
    }

    #[test]
    fn a_reconnect_token_is_fresh_twice_in_its_life_whatever_is_configured() {
        let interval = |socket_token_s, reconnect_token_s| {
            let config = Config { socket_token_s, reconnect_token_s, ..Config::default() };
            ReconnectTokens::of(&config).interval.as_secs()
        };
        assert_eq!((interval(300, 60), interval(300, 600), interval(10, 60)), (60, 150, 5));
        for (socket_token_s, reconnect_token_s) in [(0, 60), (301, 60), (300, 0)] {
            let config = Config { socket_token_s, reconnect_token_s, ..Config::default() };
            assert!(config.check().is_err(), "{socket_token_s} {reconnect_token_s} passed");
        }
    }
}
