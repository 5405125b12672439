//! What is known of all relays: their secrets, their health, and which to hand out. Pure.

use std::sync::Arc;

use crate::credential::Signer;
use crate::health::{Change, Health};
use crate::secrets::Secrets;
use crate::{Pool, RelayState, Server};

/// The secrets of a pool, with the current one ready to sign.
pub(crate) struct PoolSecrets {
    pub(crate) secrets: Secrets,
    pub(crate) signer: Signer,
}

impl PoolSecrets {
    pub(crate) fn new(secrets: Secrets) -> Self {
        Self { signer: Signer::new(secrets.current.as_str()), secrets }
    }
}

pub(crate) struct Relays {
    pools: Vec<PoolState>,
}

/// What is known of one pool.
struct PoolState {
    pool: Pool,
    secrets: Option<Arc<PoolSecrets>>,
    health: Vec<Health>,
}

/// A relay to hand out.
pub(crate) struct Candidate<'a> {
    pub(crate) server: &'a Server,
    pub(crate) secrets: &'a PoolSecrets,
    rank: u8,
    state: RelayState,
    failures: u32,
}

impl Relays {
    pub(crate) fn new(pools: Vec<Pool>) -> Self {
        let known = |pool: Pool| {
            let health = vec![Health::default(); pool.servers.len()];
            PoolState { pool, secrets: None, health }
        };
        Self { pools: pools.into_iter().map(known).collect() }
    }

    /// Takes over from `before` the secrets of pools that were there, and the health of relays that
    /// are reached as they were.
    pub(crate) fn carry_over(&mut self, before: &Self) {
        for PoolState { pool, secrets, health } in &mut self.pools {
            let Some(old) = before.pools.iter().find(|old| old.pool.name == pool.name) else {
                continue;
            };
            secrets.clone_from(&old.secrets);
            for (server, health) in pool.servers.iter().zip(health) {
                let mut known = old.pool.servers.iter().zip(&old.health);
                if let Some((_, known)) = known.find(|(known, _)| known.urls == server.urls) {
                    *health = *known;
                }
            }
        }
    }

    pub(crate) fn secrets_read(&mut self, pool: usize, secrets: Arc<PoolSecrets>) {
        self.pools[pool].secrets = Some(secrets);
    }

    pub(crate) fn secrets(&self, pool: usize) -> Option<Arc<PoolSecrets>> {
        self.pools[pool].secrets.clone()
    }

    pub(crate) fn probed(&mut self, pool: usize, server: usize, good: bool) -> Option<Change> {
        self.pools[pool].health[server].record(good)
    }

    /// Returns the relays to hand out to a session of `region`: its own region first, then pools
    /// without a region, then other regions. Leaves out relays that are withheld or drained, unless
    /// that leaves none: then the one with the fewest failures stays. Empty as long as no secret is
    /// known.
    pub(crate) fn choose(&self, region: &str) -> Vec<Candidate<'_>> {
        let mut candidates: Vec<_> = self.all(region).collect();
        if candidates.iter().any(|relay| relay.state == RelayState::Healthy) {
            candidates.retain(|relay| relay.state == RelayState::Healthy);
        } else {
            let order = |relay: &Candidate| (relay.state == RelayState::Drained, relay.failures);
            candidates = candidates.into_iter().min_by_key(order).into_iter().collect();
        }
        candidates.sort_by_key(|relay| relay.rank);
        candidates
    }

    /// Returns the name of the relay that is handed out although it is not healthy, because none
    /// is.
    pub(crate) fn fallback(&self) -> Option<&str> {
        let chosen = self.choose("");
        let only = chosen.first().filter(|relay| relay.state != RelayState::Healthy)?;
        Some(only.server.name())
    }

    pub(crate) fn state(&self, pool: usize, server: usize) -> RelayState {
        let PoolState { pool, secrets, health } = &self.pools[pool];
        let name = pool.servers[server].name();
        if secrets.as_ref().is_some_and(|secrets| secrets.secrets.drained.contains(name)) {
            RelayState::Drained
        } else if health[server].is_withheld() {
            RelayState::Withheld
        } else {
            RelayState::Healthy
        }
    }

    /// Returns how many relays are in each state.
    pub(crate) fn count(&self) -> [(RelayState, usize); 3] {
        let servers =
            |(n, known): (usize, &PoolState)| (0..known.pool.servers.len()).map(move |at| (n, at));
        let all: Vec<_> = self.pools.iter().enumerate().flat_map(servers).collect();
        [RelayState::Healthy, RelayState::Withheld, RelayState::Drained].map(|state| {
            (state, all.iter().filter(|(pool, at)| self.state(*pool, *at) == state).count())
        })
    }

    /// Returns whether a relay other than the one called `name` is not drained.
    pub(crate) fn has_another(&self, name: &str) -> bool {
        self.all("").any(|it| it.server.name() != name && it.state != RelayState::Drained)
    }

    fn all(&self, region: &str) -> impl Iterator<Item = Candidate<'_>> {
        let pools = self.pools.iter().enumerate();
        let pools = pools.filter_map(|(n, known)| Some((n, known, known.secrets.as_deref()?)));
        pools.flat_map(move |(n, PoolState { pool, health, .. }, secrets)| {
            let rank = match pool.region.as_str() {
                own if own == region => 0,
                "" => 1,
                _ => 2,
            };
            pool.servers.iter().zip(health).enumerate().map(move |(at, (server, health))| {
                let (state, failures) = (self.state(n, at), health.failures());
                Candidate { server, secrets, rank, state, failures }
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pool(name: &str, region: &str, urls: &[&str]) -> Pool {
        let server = |url: &&str| Server { urls: vec![(*url).to_owned()], ca: None };
        Pool {
            name: name.into(),
            region: region.into(),
            servers: urls.iter().map(server).collect(),
            first_secret: "secret".into(),
        }
    }

    fn secrets(drained: &[&str]) -> Arc<PoolSecrets> {
        let json = serde_json::json!({ "current": "s".repeat(64), "drained": drained });
        Arc::new(PoolSecrets::new(serde_json::from_value(json).unwrap()))
    }

    /// Three pools whose secrets are known.
    fn relays() -> Relays {
        let pools = vec![
            pool("us", "us", &["turn:us1", "turn:us2"]),
            pool("default", "", &["turn:any"]),
            pool("eu", "eu", &["turn:eu1"]),
        ];
        let mut relays = Relays::new(pools);
        (0..3).for_each(|pool| relays.secrets_read(pool, secrets(&[])));
        relays
    }

    fn names(relays: &Relays, region: &str) -> Vec<String> {
        relays.choose(region).iter().map(|relay| relay.server.name().to_owned()).collect()
    }

    fn fail(relays: &mut Relays, pool: usize, server: usize) {
        assert_eq!(relays.probed(pool, server, false), None);
        assert_eq!(relays.probed(pool, server, false), Some(Change::Withheld));
    }

    #[test]
    fn the_relays_of_the_region_come_first_and_those_of_others_last() {
        let relays = relays();
        assert_eq!(names(&relays, "eu"), ["turn:eu1", "turn:any", "turn:us1", "turn:us2"]);
        assert_eq!(names(&relays, "us"), ["turn:us1", "turn:us2", "turn:any", "turn:eu1"]);
        assert_eq!(names(&relays, "mars"), ["turn:any", "turn:us1", "turn:us2", "turn:eu1"]);
    }

    #[test]
    fn a_relay_without_a_secret_is_not_handed_out() {
        let mut relays = Relays::new(vec![pool("a", "", &["turn:a"]), pool("b", "", &["turn:b"])]);
        assert!(names(&relays, "").is_empty());
        relays.secrets_read(1, secrets(&[]));
        assert_eq!(names(&relays, ""), ["turn:b"]);
    }

    #[test]
    fn withheld_and_drained_relays_are_left_out() {
        let mut relays = relays();
        fail(&mut relays, 0, 1);
        relays.secrets_read(2, secrets(&["turn:eu1"]));
        assert_eq!(names(&relays, "eu"), ["turn:any", "turn:us1"]);
        assert_eq!(
            (relays.state(0, 1), relays.state(2, 0)),
            (RelayState::Withheld, RelayState::Drained)
        );
        assert_eq!(relays.fallback(), None);
        let counted = relays.count().map(|(_, count)| count);
        assert_eq!(counted, [2, 1, 1], "healthy, withheld, drained");
    }

    #[test]
    fn relays_that_stay_keep_their_health_and_pools_their_secrets() {
        let mut before = relays();
        fail(&mut before, 0, 1);
        fail(&mut before, 1, 0);
        let mut after = Relays::new(vec![
            pool("new", "us", &["turn:new"]),
            pool("us", "us", &["turn:us3", "turn:us2"]),
            pool("default", "", &["turn:any", "turn:us1"]),
        ]);
        after.pools[2].pool.servers[0].urls.push("turns:any".to_owned());
        after.carry_over(&before);
        assert_eq!(after.state(1, 1), RelayState::Withheld, "it has another place in its pool");
        assert_eq!(after.state(2, 0), RelayState::Healthy, "it is reached otherwise");
        assert!(after.secrets(0).is_none() && after.secrets(1).is_some());
        assert_eq!(names(&after, ""), ["turn:any", "turn:us1", "turn:us3"]);
    }

    #[test]
    fn the_last_one_that_is_not_drained_is_known() {
        let mut relays = Relays::new(vec![pool("a", "", &["turn:a", "turn:b"])]);
        relays.secrets_read(0, secrets(&["turn:b"]));
        assert!(!relays.has_another("turn:a"));
        relays.secrets_read(0, secrets(&[]));
        assert!(relays.has_another("turn:a"));
    }

    #[test]
    fn when_all_are_withheld_the_least_bad_stays_and_is_named() {
        let mut relays = relays();
        relays.secrets_read(2, secrets(&["turn:eu1"]));
        for (pool, server) in [(0, 0), (0, 1), (1, 0)] {
            fail(&mut relays, pool, server);
        }
        relays.probed(0, 0, false);
        relays.probed(1, 0, false);
        assert_eq!(names(&relays, "eu"), ["turn:us2"], "a drained one is no way out");
        assert_eq!(relays.fallback(), Some("turn:us2"));
        relays.probed(1, 0, true);
        assert_eq!(relays.fallback(), Some("turn:any"), "it has answered since");
    }

    proptest! {
        #[test]
        fn the_list_is_never_empty_and_never_holds_a_bad_one_beside_a_good_one(
            ends in prop::collection::vec((0_usize..4, any::<bool>()), 0..60)
        ) {
            let mut relays = relays();
            for (at, good) in ends {
                let (pool, server) = [(0, 0), (0, 1), (1, 0), (2, 0)][at];
                relays.probed(pool, server, good);
                let chosen = relays.choose("eu");
                prop_assert!(!chosen.is_empty());
                let all_good = chosen.iter().all(|relay| relay.state == RelayState::Healthy);
                prop_assert!(all_good || chosen.len() == 1);
            }
        }
    }
}
