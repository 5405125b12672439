//! The ICE servers that a client or an instance is given. Pure.

use stream_protocol::{IceServer, Presence, Timestamp};

use crate::IssueIceServers;
use crate::relays::Relays;
use crate::url::stun_of;

/// Returns the STUN servers, then the relays to hand out, each with a credential that is valid
/// until `expiry`. A relay without a secret is left out: browsers throw at one that has no
/// credential.
pub(crate) fn servers(
    stun: &[String],
    relays: &Relays,
    ask: &IssueIceServers,
    expiry: Timestamp,
) -> Vec<IceServer> {
    let stun = (!stun.is_empty()).then(|| stun.to_vec());
    let stun = stun.map(|urls| IceServer { urls, username: None, password: None });
    let relays = relays.choose(&ask.region).into_iter().map(|relay| {
        let credential = relay.secrets.signer.session(&ask.session, ask.peer, expiry);
        IceServer {
            urls: relay.server.urls.clone(),
            username: Some(credential.username),
            password: Some(credential.password),
        }
    });
    stun.into_iter().chain(relays).collect()
}

/// Returns where a browser learns how far `region` is, without a credential: the relays that a
/// session there would be given, then the STUN servers; at most [`Presence::MOST_STUN_SERVERS`].
pub(crate) fn near(stun: &[String], relays: &Relays, region: &str) -> Vec<String> {
    let relays = relays.choose(region).into_iter();
    let relays = relays.filter_map(|relay| relay.server.urls.iter().find_map(|url| stun_of(url)));
    relays.chain(stun.iter().cloned()).take(Presence::MOST_STUN_SERVERS).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use stream_protocol::IceTerms;

    use super::*;
    use crate::relays::PoolSecrets;
    use crate::{Peer, Pool, Server};

    fn relays(secret: &str) -> Relays {
        let server =
            |urls: &[&str]| Server { urls: urls.iter().map(|&url| url.into()).collect(), ca: None };
        let servers = vec![server(&["turn:a:1", "turns:a:2"]), server(&["turn:b:1"])];
        let pool = Pool {
            name: "default".into(),
            region: String::new(),
            servers,
            first_secret: "turn.secret".into(),
        };
        let secrets = serde_json::from_value(serde_json::json!({ "current": secret })).unwrap();
        let mut relays = Relays::new(vec![pool]);
        relays.secrets_read(0, Arc::new(PoolSecrets::new(secrets)));
        relays
    }

    fn issued(stun: &[&str], relays: &Relays) -> Vec<IceServer> {
        let session = "abcdefghij0123456789".parse().unwrap();
        let (peer, terms) = (Peer::Client, IceTerms::default());
        let ask = IssueIceServers { session, peer, region: "eu".into(), terms };
        let stun: Vec<_> = stun.iter().map(|&url| url.to_owned()).collect();
        servers(&stun, relays, &ask, 1_700_003_600.into())
    }

    #[test]
    fn stun_comes_first_and_every_relay_has_a_credential_that_ends() {
        let servers = issued(&["stun:a:1"], &relays(&"0123456789abcdef".repeat(4)));
        let urls: Vec<_> = servers.iter().map(|server| server.urls.join(" ")).collect();
        assert_eq!(urls, ["stun:a:1", "turn:a:1 turns:a:2", "turn:b:1"]);
        assert_eq!((&servers[0].username, &servers[0].password), (&None, &None));
        for relay in &servers[1..] {
            assert_eq!(relay.username.as_deref(), Some("1700003600:abcdefghij0123456789-client"));
            assert_eq!(relay.password.as_deref(), Some("y5/47A/7LzZNZMVNfJPZy+iMsSo="));
        }
    }

    #[test]
    fn relays_tell_a_browser_how_far_they_are_before_stun_servers_do() {
        let (stun, relays) = (["stun:c:3".to_owned()], relays(&"0123456789abcdef".repeat(4)));
        assert_eq!(near(&stun, &relays, "eu"), ["stun:a:1", "stun:b:1", "stun:c:3"]);
        let many: Vec<_> = (1..=9).map(|n| format!("stun:c:{n}")).collect();
        assert_eq!(near(&many, &relays, "eu").len(), Presence::MOST_STUN_SERVERS);
    }

    #[test]
    fn without_relays_there_is_only_stun_or_nothing() {
        let none = Relays::new(Vec::new());
        let only_stun = issued(&["stun:a:1", "stun:b:1"], &none);
        assert_eq!(only_stun.len(), 1);
        assert_eq!(only_stun[0].urls, ["stun:a:1", "stun:b:1"]);
        assert_eq!(issued(&[], &none), []);
    }
}
