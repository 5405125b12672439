//! The STUN and TURN servers that are configured, and whether they can be used.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use stream_pki::Seal;
use stream_protocol::{IceTerms, Timestamp};

use crate::url::{self, RelayUrl};
use crate::{TurnError, probe_target, secret};

/// The pool of the relays that are in no other.
pub(crate) const DEFAULT_POOL: &str = "default";

/// Shorter than this, a credential may end before a connection stands.
const MIN_LIFETIME_S: u64 = 10;

/// The longest life of a credential, in seconds: 30 days.
const MAX_LIFETIME_S: u64 = 30 * 24 * 3600;

/// The STUN and TURN servers that clients and instances are given. While the agent runs it takes up
/// other `servers`, `pools` and `stun`, and a `first_secret` with them; all else wants a restart.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Relays that share `first_secret`, for sessions of any region. Defaults to none: without
    /// relays only direct connections are possible.
    #[serde(default)]
    pub servers: Vec<Server>,
    /// More relays, in pools with a region and a secret of their own. Defaults to none.
    #[serde(default)]
    pub pools: Vec<Pool>,
    /// STUN servers, `stun:host:port`. Defaults to none.
    #[serde(default)]
    pub stun: Vec<String>,
    /// Seconds a credential is good for, at least 10. The credentials of a running stream are
    /// renewed after two thirds of it. Defaults to 3600.
    #[serde(default = "an_hour")]
    pub lifetime_s: u64,
    /// Seconds that the credential of a client is good for which does not say that it takes fresh
    /// ones, at least `lifetime_s` and at most 2592000, 30 days. For relays that look at the
    /// credential again while a stream runs; coturn does not. Defaults to `lifetime_s`.
    #[serde(default)]
    pub lifetime_without_renewal_s: Option<u64>,
    /// Seconds between two probes of a relay over all its URLs, at least 1. A relay that fails two
    /// in a row is not handed out until three succeed. Defaults to 10.
    #[serde(default = "ten")]
    pub probe_s: u64,
    /// File with the key under which the agents seal the relay secrets in NATS; text of at least 32
    /// bytes, the same on all nodes.
    pub sealing_key: PathBuf,
    /// File with the first relay secret: visible ASCII text of at least 64 bytes, as it stands in
    /// the relays' configuration. Used once, by the first agent that finds no secret in NATS, and
    /// removed if the service may, once a relay accepts it; need not exist on the others.
    pub first_secret: PathBuf,
    /// Directory for the highest generation of the secrets seen so far.
    pub state: PathBuf,
}

/// Relays that share a secret.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Pool {
    /// Names the pool to operators and in NATS: 1 to 32 of `a-z0-9-`, not `default`.
    pub name: String,
    /// Sessions of this region get these relays first. Defaults to none: the relays come after
    /// those of the session's region and before those of others.
    #[serde(default)]
    pub region: String,
    pub servers: Vec<Server>,
    /// File with the first secret of this pool, as [`Config::first_secret`] of the default one.
    pub first_secret: PathBuf,
}

/// One relay; its URLs all lead to the same one.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// `turn:host:port?transport=udp`, `turns:host:port?transport=tcp` and the like; at least one.
    pub urls: Vec<String>,
    /// Authorities that its certificate may come from, PEM, for a `turns:` URL. Defaults to those
    /// of the system.
    #[serde(default)]
    pub ca: Option<PathBuf>,
}

impl Server {
    /// Returns what operators call the relay by: its first URL.
    pub fn name(&self) -> &str {
        self.urls.first().map_or("", String::as_str)
    }
}

fn an_hour() -> u64 {
    3600
}

fn ten() -> u64 {
    10
}

impl Config {
    /// Returns all pools; `servers` are the one called [`DEFAULT_POOL`].
    pub(crate) fn all_pools(&self) -> Vec<Pool> {
        let default = (!self.servers.is_empty()).then(|| Pool {
            name: DEFAULT_POOL.to_owned(),
            region: String::new(),
            servers: self.servers.clone(),
            first_secret: self.first_secret.clone(),
        });
        default.into_iter().chain(self.pools.iter().cloned()).collect()
    }

    /// Returns this configuration with the servers of `other`, and the files of first secrets that
    /// belong to them.
    pub(crate) fn with_servers_of(&self, other: &Self) -> Self {
        Self {
            servers: other.servers.clone(),
            pools: other.pools.clone(),
            stun: other.stun.clone(),
            first_secret: other.first_secret.clone(),
            ..self.clone()
        }
    }

    /// Returns until when a credential is good that is made at `now` on `terms`.
    pub(crate) fn expiry(&self, terms: IceTerms, now: Timestamp) -> Timestamp {
        let without_renewal = self.lifetime_without_renewal_s.filter(|_| !terms.renew);
        let expiry = now.plus_secs(without_renewal.unwrap_or(self.lifetime_s));
        terms.until.map_or(expiry, |until| expiry.min(until))
    }

    /// Returns the longest life of a credential, in seconds.
    pub(crate) fn longest_lifetime_s(&self) -> u64 {
        self.lifetime_without_renewal_s.unwrap_or(self.lifetime_s)
    }

    /// Checks the values and, when there are relays, the files that they name.
    ///
    /// # Errors
    ///
    /// Names the key that cannot work and the remedy, or the file that cannot be used.
    pub fn check(&self) -> Result<(), TurnError> {
        self.check_values()?;
        let pools = self.all_pools();
        probe_target::targets(&pools)?;
        pools.iter().try_for_each(|pool| secret::check_first(&pool.first_secret))?;
        if !pools.is_empty() {
            Seal::load(&self.sealing_key)?;
        }
        Ok(())
    }

    fn check_values(&self) -> Result<(), TurnError> {
        let refuse = |text: String| Err(TurnError::Config(text));
        if self.lifetime_s < MIN_LIFETIME_S {
            return refuse(format!("turn.lifetime_s is at least {MIN_LIFETIME_S}"));
        }
        let without_renewal = self.lifetime_without_renewal_s.unwrap_or(self.lifetime_s);
        if without_renewal < self.lifetime_s
            || without_renewal > MAX_LIFETIME_S.max(self.lifetime_s)
        {
            return refuse(format!(
                "turn.lifetime_without_renewal_s is at least turn.lifetime_s, {}, and at most \
                 {MAX_LIFETIME_S}",
                self.lifetime_s
            ));
        }
        if self.probe_s < 1 {
            return refuse("turn.probe_s is at least 1".into());
        }
        if let Some(url) = self.stun.iter().find(|url| !url::is_stun(url)) {
            return refuse(format!("turn.stun: {url} is not of the form stun:host:port"));
        }
        let (mut pools, mut servers) = (BTreeSet::from([DEFAULT_POOL]), BTreeSet::new());
        for Pool { name, .. } in &self.pools {
            let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
            if name.is_empty() || name.len() > 32 || !name.bytes().all(plain) {
                return refuse(format!("turn.pools: {name:?} is not 1 to 32 of a-z, 0-9 and '-'"));
            }
            if !pools.insert(name.as_str()) {
                return refuse(format!("turn.pools: there are two pools {name}"));
            }
        }
        let all = self.servers.iter().chain(self.pools.iter().flat_map(|pool| &pool.servers));
        for server in all {
            if server.urls.is_empty() {
                let text = "turn.servers has one without urls: name at least one, or remove it";
                return refuse(text.into());
            }
            if let Some(url) = server.urls.iter().find(|url| RelayUrl::parse(url).is_none()) {
                return refuse(format!("turn.servers: {url} is not of the form turn:host:port"));
            }
            if !servers.insert(server.name()) {
                return refuse(format!("turn.servers: {} is named twice", server.name()));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        let json = r#"{"sealing_key":"sealing.key","first_secret":"turn.secret","state":"state"}"#;
        serde_json::from_str(json).unwrap()
    }

    fn relay(url: &str) -> Config {
        Config { servers: vec![Server { urls: vec![url.into()], ca: None }], ..config() }
    }

    #[test]
    fn what_is_left_out_has_a_default_that_works() {
        let config = config();
        assert_eq!(config.lifetime_s, 3600);
        assert_eq!(config.probe_s, 10);
        assert!(config.all_pools().is_empty() && config.stun.is_empty());
        assert!(config.check_values().is_ok());
    }

    #[test]
    fn who_does_not_renew_gets_a_longer_life_where_one_is_set_and_nobody_outlives_an_end() {
        let now = Timestamp::from_unix(1000);
        let life = |config: &Config, renew, until: Option<u64>| {
            let terms = IceTerms { renew, until: until.map(Timestamp::from_unix) };
            config.expiry(terms, now).as_unix() - 1000
        };
        let unset = config();
        assert_eq!((life(&unset, false, None), life(&unset, true, None)), (3600, 3600));
        let set = Config { lifetime_without_renewal_s: Some(86400), ..config() };
        assert_eq!((life(&set, false, None), life(&set, true, None)), (86400, 3600));
        assert_eq!((life(&set, false, Some(8000)), life(&set, true, Some(8000))), (7000, 3600));
        assert_eq!((life(&set, true, Some(1060)), life(&unset, false, Some(1060))), (60, 60));
        assert_eq!((unset.longest_lifetime_s(), set.longest_lifetime_s()), (3600, 86400));
    }

    #[test]
    fn only_servers_and_their_first_secrets_are_taken_from_another_configuration() {
        let other = Config {
            stun: vec!["stun:a".into()],
            first_secret: "another".into(),
            lifetime_s: 60,
            probe_s: 1,
            sealing_key: "another".into(),
            state: "another".into(),
            ..relay("turn:a")
        };
        let taken = config().with_servers_of(&other);
        assert_eq!((taken.servers[0].name(), taken.stun.len()), ("turn:a", 1));
        assert_eq!(taken.first_secret, other.first_secret);
        assert_eq!((taken.lifetime_s, taken.probe_s), (3600, 10));
        assert_eq!((taken.sealing_key, taken.state), ("sealing.key".into(), "state".into()));
    }

    #[test]
    fn what_cannot_work_is_refused_by_its_key() {
        let tls = "turns:turn.example.org:5349?transport=tcp";
        let both = Server { urls: vec![tls.into(), "turn:turn.example.org".into()], ca: None };
        let both = Config { servers: vec![both], ..config() };
        assert!(both.check_values().is_ok());
        let pool = |name: &str, url: &str| Pool {
            name: name.into(),
            region: String::new(),
            servers: vec![Server { urls: vec![url.into()], ca: None }],
            first_secret: "eu.secret".into(),
        };
        let pools = |pools: Vec<Pool>| Config { pools, ..relay("turn:a") };
        assert!(pools(vec![pool("eu", "turn:b"), pool("us", "turn:c")]).check_values().is_ok());
        let without_renewal = |life| Config { lifetime_without_renewal_s: Some(life), ..config() };
        assert!(without_renewal(3600).check_values().is_ok());
        assert!(without_renewal(MAX_LIFETIME_S).check_values().is_ok());
        let no_urls = Config { servers: vec![Server { urls: vec![], ca: None }], ..config() };
        let stun = |url: &str| Config { stun: vec![url.into()], ..config() };
        for (refused, key) in [
            (Config { lifetime_s: 9, ..config() }, "turn.lifetime_s"),
            (without_renewal(3599), "turn.lifetime_without_renewal_s"),
            (without_renewal(MAX_LIFETIME_S + 1), "turn.lifetime_without_renewal_s"),
            (no_urls, "turn.servers"),
            (relay("turn.example.org:3478"), "turn.servers"),
            (relay("stun:turn.example.org:3478"), "turn.servers"),
            (relay("turn:"), "turn.servers"),
            (relay("turn:a b"), "turn.servers"),
            (pools(vec![pool("eu", "turn:a")]), "turn.servers"),
            (pools(vec![pool("eu", "turn:b"), pool("eu", "turn:c")]), "turn.pools"),
            (pools(vec![pool("default", "turn:b")]), "turn.pools"),
            (pools(vec![pool("e.u", "turn:b")]), "turn.pools"),
            (Config { probe_s: 0, ..config() }, "turn.probe_s"),
            (stun("turn:turn.example.org:3478"), "turn.stun"),
        ] {
            let sentence = refused.check_values().unwrap_err().to_string();
            assert!(sentence.starts_with(key), "{sentence}");
        }
    }
}
