//! What a client or an instance is given to connect with. Pure.

use stream_protocol::IceServer;

use crate::secret::Secret;
use crate::{Config, IssueIceServers, credential};

/// Returns STUN servers and relays as configured, the relays with a credential made at `now`, in
/// Unix seconds. Without the secret there are no relays: browsers throw at one that has no
/// credential.
pub(crate) fn servers(
    config: &Config,
    secret: Option<&Secret>,
    ask: &IssueIceServers,
    now: u64,
) -> Vec<IceServer> {
    let mut servers = Vec::new();
    if !config.stun.is_empty() {
        servers.push(IceServer { urls: config.stun.clone(), username: None, password: None });
    }
    if let Some(secret) = secret {
        let expiry = now.saturating_add(config.lifetime_s);
        let (username, password) =
            credential::sign(secret.as_str(), &ask.session, ask.side, expiry);
        servers.extend(config.servers.iter().map(|server| IceServer {
            urls: server.urls.clone(),
            username: Some(username.clone()),
            password: Some(password.clone()),
        }));
    }
    servers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Server, Side};

    fn config(servers: &[&[&str]], stun: &[&str]) -> Config {
        let owned = |urls: &[&str]| urls.iter().map(|&url| url.to_owned()).collect::<Vec<_>>();
        Config {
            servers: servers.iter().map(|urls| Server { urls: owned(urls) }).collect(),
            stun: owned(stun),
            lifetime_s: 3600,
            sealing_key: "sealing.key".into(),
            first_secret: "turn.secret".into(),
            state: "state".into(),
        }
    }

    fn issued(config: &Config, secret: Option<&Secret>) -> Vec<IceServer> {
        let session = "abcdefghij0123456789".parse().unwrap();
        servers(config, secret, &IssueIceServers { session, side: Side::Client }, 1_700_000_000)
    }

    #[test]
    fn stun_comes_first_and_every_relay_has_a_credential_that_ends() {
        let json = format!(r#"{{"secret":"{}"}}"#, "0123456789abcdef".repeat(4));
        let secret: Secret = serde_json::from_str(&json).unwrap();
        let relays: &[&[&str]] = &[&["turn:a:1", "turns:a:2"], &["turn:b:1"]];
        let servers = issued(&config(relays, &["stun:a:1"]), Some(&secret));

        let urls: Vec<_> = servers.iter().map(|server| server.urls.join(" ")).collect();
        assert_eq!(urls, ["stun:a:1", "turn:a:1 turns:a:2", "turn:b:1"]);
        assert_eq!((&servers[0].username, &servers[0].password), (&None, &None));
        for relay in &servers[1..] {
            assert_eq!(relay.username.as_deref(), Some("1700003600:abcdefghij0123456789-client"));
            assert_eq!(relay.password.as_deref(), Some("y5/47A/7LzZNZMVNfJPZy+iMsSo="));
        }
    }

    #[test]
    fn without_relays_there_is_only_stun_or_nothing() {
        let only_stun = issued(&config(&[], &["stun:a:1", "stun:b:1"]), None);
        assert_eq!(only_stun.len(), 1);
        assert_eq!(only_stun[0].urls, ["stun:a:1", "stun:b:1"]);
        assert_eq!(issued(&config(&[], &[]), None), []);
    }
}
