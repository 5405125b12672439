//! What another reading of the configuration changes about the servers that are handed out. Pure.

use std::collections::BTreeMap;

use crate::Config;

/// The servers that differ between two configurations: relays by their first URL, STUN servers by
/// their only one.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ServerChanges {
    pub added: Vec<String>,
    pub removed: Vec<String>,
    /// Relays with other URLs, in another pool or for another region.
    pub changed: Vec<String>,
}

impl ServerChanges {
    pub(crate) fn between(before: &Config, after: &Config) -> Self {
        let (before, after) = (servers(before), servers(after));
        let missing = |from: &BTreeMap<String, _>, other: &BTreeMap<String, _>| {
            other.keys().filter(|name| !from.contains_key(*name)).cloned().collect()
        };
        let differs = |(name, server): &(&String, &Vec<String>)| {
            before.get(*name).is_some_and(|before| before != *server)
        };
        let changed = after.iter().filter(differs).map(|(name, _)| name.clone()).collect();
        Self { added: missing(&before, &after), removed: missing(&after, &before), changed }
    }

    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }
}

/// The servers by name, each with what decides about who is given it and how it is reached.
fn servers(config: &Config) -> BTreeMap<String, Vec<String>> {
    let stun = config.stun.iter().map(|url| (url.clone(), Vec::new()));
    let relays = config.all_pools().into_iter().flat_map(|pool| {
        let (name, region) = (pool.name, pool.region);
        pool.servers.into_iter().map(move |server| {
            let place = [name.clone(), region.clone()];
            (server.name().to_owned(), place.into_iter().chain(server.urls).collect())
        })
    });
    stun.chain(relays).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Pool, Server};

    fn server(urls: &[&str]) -> Server {
        Server { urls: urls.iter().map(|&url| url.to_owned()).collect(), ca: None }
    }

    fn config(servers: Vec<Server>) -> Config {
        let json = r#"{"sealing_key":"k","first_secret":"s","state":"d"}"#;
        Config { servers, ..serde_json::from_str(json).unwrap() }
    }

    fn eu(region: &str, servers: Vec<Server>) -> Pool {
        Pool { name: "eu".into(), region: region.into(), servers, first_secret: "eu".into() }
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn what_came_and_what_went_is_told_by_its_name() {
        let before = config(vec![server(&["turn:a"]), server(&["turn:b"])]);
        let before = Config { stun: names(&["stun:a"]), ..before };
        assert!(ServerChanges::between(&before, &before).is_empty());
        let after = config(vec![server(&["turn:b"]), server(&["turn:c", "turns:c"])]);
        let after = Config { stun: names(&["stun:b"]), ..after };
        let changes = ServerChanges::between(&before, &after);
        assert_eq!(changes.added, names(&["stun:b", "turn:c"]));
        assert_eq!(changes.removed, names(&["stun:a", "turn:a"]));
        assert!(changes.changed.is_empty() && !changes.is_empty());
    }

    #[test]
    fn a_relay_that_is_reached_or_handed_out_otherwise_has_changed() {
        let before = config(vec![server(&["turn:a"])]);
        let urls = config(vec![server(&["turn:a", "turns:a"])]);
        let pool = |region| Config {
            pools: vec![eu(region, vec![server(&["turn:a"])])],
            ..config(Vec::new())
        };
        for (before, after) in
            [(&before, &urls), (&urls, &before), (&before, &pool("eu")), (&pool(""), &pool("eu"))]
        {
            let changes = ServerChanges::between(before, after);
            assert_eq!(changes.changed, names(&["turn:a"]), "{before:?}, {after:?}");
            assert!(changes.added.is_empty() && changes.removed.is_empty(), "{changes:?}");
        }
    }

    #[test]
    fn what_nobody_is_given_and_the_order_of_relays_change_nothing() {
        let relay = |ca: Option<&str>| Server { ca: ca.map(Into::into), ..server(&["turn:a"]) };
        let before = config(vec![relay(None), server(&["turn:b"])]);
        let after = config(vec![server(&["turn:b"]), relay(Some("ca.pem"))]);
        let after = Config { first_secret: "another".into(), probe_s: 1, ..after };
        assert!(ServerChanges::between(&before, &after).is_empty());
    }
}
