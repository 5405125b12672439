//! What a connection may cost, and how long each step may take.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};

use crate::admission::AdmissionLimits;

/// The section `[http]`: who is believed to hand on connections, and what one address may do.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    /// Networks of proxies and balancers, such as `10.0.0.0/8`: what they say of their clients is
    /// believed, and only the limits of all addresses together hold for them.
    pub trusted_proxies: Vec<Network>,
    /// Whether each connection from a trusted proxy begins with a header of the PROXY protocol,
    /// version 2. Otherwise the client is the last address in `X-Forwarded-For` that is no trusted
    /// proxy. Default false.
    pub proxy_protocol: bool,
    /// Connections that one address (of IPv6 a /64) may have at a time. Default 256; 1000 at an
    /// agent.
    pub connections_per_address: usize,
    /// Those of them that may be in their handshake. Default 32.
    pub handshakes_per_address: usize,
    /// Full handshakes that one address may make a second on the average; ten times as many may
    /// come at once. Clients that resume do not count. Default 10.
    pub full_handshakes_per_second: u32,
    /// Requests that one address may make a second on the average; ten times as many may come at
    /// once. Default 200; 1000 at an agent.
    pub requests_per_address: u32,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            trusted_proxies: Vec::new(),
            proxy_protocol: false,
            connections_per_address: 256,
            handshakes_per_address: 32,
            full_handshakes_per_second: 10,
            requests_per_address: 200,
        }
    }
}

/// At an agent: the instances of one node may share an address.
const AT_AGENT: [(&str, u32); 2] =
    [("connections_per_address", 1000), ("requests_per_address", 1000)];

/// A network, or a single address.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network(IpNet);

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let address = text.parse::<IpAddr>().map(IpNet::from);
        let network = address.or_else(|_| text.parse::<IpNet>());
        network.map(Self).map_err(|_| format!("{text:?} is neither an address nor a network"))
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.0.to_string()
    }
}

impl Network {
    fn contains(self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl HttpConfig {
    /// Returns what holds for an agent that says nothing.
    pub fn at_agent() -> Self {
        let keys = AT_AGENT.map(|(name, value)| (name.to_owned(), value.into()));
        serde_json::from_value(serde_json::Value::Object(keys.into_iter().collect()))
            .expect("they are keys")
    }

    /// Reads the section of an agent.
    ///
    /// # Errors
    ///
    /// An unknown key, or a value that is none.
    pub fn read_at_agent<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut keys = serde_json::Map::deserialize(deserializer)?;
        for (name, value) in AT_AGENT {
            keys.entry(name).or_insert(value.into());
        }
        serde_json::from_value(keys.into()).map_err(D::Error::custom)
    }

    /// Checks the values.
    ///
    /// # Errors
    ///
    /// One sentence with the key.
    pub fn check(&self) -> Result<(), String> {
        let counts = [self.connections_per_address, self.handshakes_per_address];
        let rates = [self.full_handshakes_per_second, self.requests_per_address];
        if counts.contains(&0) || rates.contains(&0) {
            return Err("http.connections_per_address, http.handshakes_per_address, \
                        http.full_handshakes_per_second and http.requests_per_address are at \
                        least 1"
                .to_owned());
        }
        if self.proxy_protocol && self.trusted_proxies.is_empty() {
            return Err("http.proxy_protocol needs http.trusted_proxies: the header counts from \
                        nobody else"
                .to_owned());
        }
        Ok(())
    }

    pub(crate) fn trusts(&self, address: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|network| network.contains(address))
    }
}

/// Deadlines and caps of a server.
#[derive(Clone)]
pub struct Limits {
    /// The time until a client begins its handshake, and after it its first request.
    pub first_byte_timeout: Duration,
    /// The time for a TLS handshake.
    pub handshake_timeout: Duration,
    /// The time for the line and the headers of a request.
    pub head_timeout: Duration,
    /// How long a client may take nothing of what is sent to it.
    pub answer_timeout: Duration,
    /// How long a connection stays open between two requests. Longer than any long-poll, so that
    /// instances keep theirs.
    pub keep_alive: Duration,
    /// The time for the TLS close of a connection.
    pub disconnect_timeout: Duration,
    /// The time that requests in hand get when the server stops.
    pub shutdown_timeout: Duration,
    /// Connections per worker thread.
    pub max_connections: usize,
    pub http: HttpConfig,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            first_byte_timeout: Duration::from_secs(5),
            handshake_timeout: Duration::from_secs(10),
            head_timeout: Duration::from_secs(10),
            answer_timeout: Duration::from_secs(30),
            keep_alive: Duration::from_secs(75),
            disconnect_timeout: Duration::from_secs(5),
            shutdown_timeout: Duration::from_secs(5),
            max_connections: 10_000,
            http: HttpConfig::default(),
        }
    }
}

impl Limits {
    pub(crate) fn admission(&self, workers: usize) -> AdmissionLimits {
        AdmissionLimits {
            connections: self.max_connections.saturating_mul(workers),
            connections_per_address: self.http.connections_per_address,
            handshakes_per_address: self.http.handshakes_per_address,
            full_handshakes_per_second: self.http.full_handshakes_per_second,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Result<Network, String> {
        Network::try_from(text.to_owned())
    }

    #[test]
    fn a_trusted_proxy_is_named_by_its_address_or_its_network() {
        let trusted_proxies =
            ["10.1.0.0/16", "192.0.2.7", "2001:db8::/32"].map(|text| network(text).unwrap()).into();
        let http = HttpConfig { trusted_proxies, ..HttpConfig::default() };
        let trusts = |text: &str| http.trusts(text.parse().unwrap());
        assert!(trusts("10.1.2.3") && trusts("::ffff:10.1.2.3") && trusts("2001:db8:7::1"));
        assert!(trusts("192.0.2.7") && !trusts("192.0.2.8") && !trusts("10.2.0.1"));
        for text in ["", "10.1.0.0/33", "proxy.example.org"] {
            assert!(network(text).is_err(), "{text} passed");
        }
    }

    #[test]
    fn an_agent_has_defaults_of_its_own_beside_what_is_said() {
        let read = |text: &str| HttpConfig::read_at_agent(toml::de::Deserializer::parse(text)?);
        let config = read("handshakes_per_address = 7").expect("a section");
        assert_eq!((config.connections_per_address, config.handshakes_per_address), (1000, 7));
        assert_eq!(read("connections_per_address = 9").unwrap().connections_per_address, 9);
        assert!(read("connection_per_address = 9").is_err());
        assert_eq!(HttpConfig::at_agent().requests_per_address, 1000);
    }

    #[test]
    fn values_that_would_serve_nobody_are_refused() {
        let check = |text: &str| toml::from_str::<HttpConfig>(text).unwrap().check();
        assert_eq!(check(""), Ok(()));
        for key in [
            "connections_per_address",
            "handshakes_per_address",
            "full_handshakes_per_second",
            "requests_per_address",
        ] {
            assert!(check(&format!("{key} = 0")).is_err(), "{key}");
        }
        assert!(check("proxy_protocol = true").is_err(), "from whom?");
    }
}
