//! The actor: keeps the secrets up to date, and the probes going.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use actix::Message;
use futures_util::future::join_all;
use stream_bridge::{Bridge, SealedError, follow_sealed};
use stream_pki::{Seal, random_bytes};
use stream_protocol::IceServer;
use stream_supervisor::{Context, Handler, Reply, Worker};
use tokio::time::sleep;

use crate::config::DEFAULT_POOL;
use crate::health::Change;
use crate::probe::probe;
use crate::relays::{Kept, Live};
use crate::rotation::{self, Vault};
use crate::secrets::Secrets;
use crate::way::Ways;
use crate::{
    AskRelays, Config, Drain, IssueIceServers, Pool, Probe, Probed, Ready, Retire, Rotate,
    Rotation, TurnError, ice,
};

/// The record that holds the secrets of the default pool; those of others stand behind it.
const RECORD: &str = "agent.turn";

/// What the credential of a probe is good for, seconds.
const PROBE_LIFE_S: u64 = 60;

/// The longest that a probe may take.
const PROBE_WITHIN: Duration = Duration::from_secs(3);

/// The pause of probes as long as there is no secret.
const NO_SECRET: Duration = Duration::from_millis(500);

pub(crate) struct Actor {
    config: Config,
    pools: Arc<[Pool]>,
    ways: Ways,
    /// One for each pool.
    vaults: Vec<Vault>,
    kept: Kept,
    /// Why the secrets of a pool could not be read the last time.
    troubles: Vec<Option<Arc<SealedError>>>,
}

impl Actor {
    pub(crate) fn new(
        config: Config,
        bridge: &Bridge,
        seal: Option<&Arc<Seal>>,
        ways: Ways,
        kept: Kept,
    ) -> Self {
        let pools: Arc<[Pool]> = config.all_pools().into();
        let vault = |(pool, seal): (&Pool, &Arc<Seal>)| Vault {
            bridge: bridge.clone(),
            seal: Arc::clone(seal),
            record: record(pool),
            state: config.state.clone(),
        };
        // Without a seal there are no pools.
        let vaults = pools.iter().zip(std::iter::repeat(seal).flatten()).map(vault).collect();
        let troubles = vec![None; pools.len()];
        Self { config, pools, ways, vaults, kept, troubles }
    }

    /// Why a pool has no secret, if it has none.
    fn trouble(&self, pool: usize) -> Option<TurnError> {
        self.live(pool).err()
    }

    /// What is known of the secrets of a pool.
    fn live(&self, pool: usize) -> Result<Arc<Live>, TurnError> {
        self.kept.lock().live(pool).ok_or_else(|| match &self.troubles[pool] {
            None => TurnError::NotReady("it has not been read yet".to_owned()),
            Some(trouble) => trouble.as_ref().into(),
        })
    }

    /// The pool called `name`, and what is known of its secrets.
    fn pool(&self, name: &str) -> Result<(usize, Arc<Live>), TurnError> {
        let at = self.pools.iter().position(|pool| pool.name == name);
        let at = at.ok_or_else(|| TurnError::Refused(format!("there is no pool {name:?}")))?;
        Ok((at, self.live(at)?))
    }

    async fn follow(vault: Vault, pool: usize, first: std::path::PathBuf, ctx: Context<Self>) {
        let tell = |secrets: Result<_, _>| ctx.tell(Loaded(pool, secrets.map_err(Arc::new)));
        let first = || Secrets::first(&first);
        let Vault { bridge, seal, record, state } = vault;
        follow_sealed(&bridge, &seal, &record, first, &state, tell).await;
    }

    async fn probe_for_ever(
        kept: Kept,
        ways: Ways,
        (pool, at): (usize, usize),
        period: Duration,
        ctx: Context<Self>,
    ) {
        // Two probes and the time they take are done within two periods.
        let within = PROBE_WITHIN.min(period / 4);
        loop {
            let chance = f64::from(random_bytes::<1>()[0]) / 255.0;
            let begun = tokio::time::Instant::now();
            let live = kept.lock().live(pool);
            let Some(live) = live else {
                sleep(NO_SECRET).await;
                continue;
            };
            let credential = live.signer.probe(now() + PROBE_LIFE_S);
            let probes = ways[pool][at].iter().map(async |way| {
                let end = probe(way, &credential, within).await.verdict();
                end.map_err(|why| format!("over {}: {why}", way.name()))
            });
            let end = join_all(probes).await.into_iter().collect();
            ctx.tell(Told(pool, at, end));
            tokio::time::sleep_until(begun + period.mul_f64(0.65 + 0.15 * chance)).await;
        }
    }
}

fn record(pool: &Pool) -> String {
    match pool.name.as_str() {
        DEFAULT_POOL => RECORD.to_owned(),
        name => format!("{RECORD}.{name}"),
    }
}

impl Worker for Actor {
    fn started(&mut self, ctx: &Context<Self>) {
        for (at, (pool, vault)) in self.pools.iter().zip(&self.vaults).enumerate() {
            ctx.spawn(Self::follow(vault.clone(), at, pool.first_secret.clone(), ctx.clone()));
            for server in 0..pool.servers.len() {
                let (kept, ways) = (self.kept.clone(), Arc::clone(&self.ways));
                let period = Duration::from_secs(self.config.probe_s);
                ctx.spawn(Self::probe_for_ever(kept, ways, (at, server), period, ctx.clone()));
            }
        }
    }
}

/// The secrets of a pool were read, or could not be.
#[derive(Message)]
#[rtype(result = "()")]
struct Loaded(usize, Result<Secrets, Arc<SealedError>>);

/// How the probe of a relay ended: well by all its ways, or why not.
#[derive(Message)]
#[rtype(result = "()")]
struct Told(usize, usize, Result<(), String>);

impl Handler<Loaded> for Actor {
    fn handle(&mut self, Loaded(pool, secrets): &Loaded, _: &Context<Self>) -> Reply<()> {
        let trouble = match secrets {
            Ok(secrets) => {
                self.kept.lock().loaded(*pool, Arc::new(Live::new(secrets.clone())));
                None
            }
            Err(error) => Some(Arc::clone(error)),
        };
        // Said once, not at every attempt.
        let sentence = |trouble: &Option<Arc<SealedError>>| trouble.as_ref().map(|e| e.sentence());
        let (before, now) = (sentence(&self.troubles[*pool]), sentence(&trouble));
        let name = &self.pools[*pool].name;
        match now {
            Some(now) if before.as_ref() != Some(&now) => {
                log::warn!("TURN secret of pool {name} cannot be read: {now}")
            }
            None if before.is_some() => log::info!("TURN secret of pool {name} can be read again"),
            _ => {}
        }
        self.troubles[*pool] = trouble;
        ().into()
    }
}

impl Handler<Told> for Actor {
    fn handle(&mut self, Told(pool, server, end): &Told, _: &Context<Self>) -> Reply<()> {
        let change = self.kept.lock().probed(*pool, *server, end.is_ok());
        let name = self.pools[*pool].servers[*server].name();
        match (change, end) {
            (Some(Change::Withheld), Err(why)) => log::warn!("relay {name} is withheld: {why}"),
            (Some(Change::Back), _) => log::info!("relay {name} is handed out again"),
            _ => {}
        }
        ().into()
    }
}

impl Handler<IssueIceServers> for Actor {
    fn handle(
        &mut self,
        ask: &IssueIceServers,
        _: &Context<Self>,
    ) -> Reply<Result<Vec<IceServer>, TurnError>> {
        let troubles = || (0..self.pools.len()).map(|pool| self.trouble(pool));
        // One pool whose secret is known is enough.
        if let Some(Some(trouble)) = troubles().next()
            && troubles().all(|trouble| trouble.is_some())
        {
            return Err(trouble).into();
        }
        let expiry = now().saturating_add(self.config.lifetime_s);
        Ok(ice::servers(&self.config.stun, &self.kept.lock(), ask, expiry)).into()
    }
}

impl Handler<Ready> for Actor {
    fn handle(&mut self, _: &Ready, _: &Context<Self>) -> Reply<Result<(), TurnError>> {
        let trouble = (0..self.pools.len()).find_map(|pool| self.trouble(pool));
        trouble.map_or(Ok(()), Err).into()
    }
}

impl Handler<AskRelays> for Actor {
    fn handle(&mut self, _: &AskRelays, _: &Context<Self>) -> Reply<Result<(), TurnError>> {
        match self.kept.lock().least_bad() {
            None => Ok(()),
            Some(name) => Err(TurnError::NoGoodRelay(name.to_owned())),
        }
        .into()
    }
}

impl Handler<Probe> for Actor {
    fn handle(&mut self, _: &Probe, _: &Context<Self>) -> Reply<Result<Vec<Probed>, TurnError>> {
        let lives = (0..self.pools.len()).map(|pool| self.live(pool));
        let lives = match lives.collect::<Result<Vec<_>, _>>() {
            Ok(lives) => lives,
            Err(trouble) => return Err(trouble).into(),
        };
        let (kept, pools) = (self.kept.clone(), Arc::clone(&self.pools));
        let ways = Arc::clone(&self.ways);
        Reply::later(async move {
            let mut probes = Vec::new();
            for (pool, live) in lives.iter().enumerate() {
                for (at, ways) in ways[pool].iter().enumerate() {
                    probes.extend(ways.iter().map(|way| (pool, at, way, live)));
                }
            }
            let probes = probes.into_iter().map(async |(pool, at, way, live)| {
                let credential = live.signer.probe(now() + PROBE_LIFE_S);
                let answered = probe(way, &credential, PROBE_WITHIN).await;
                let Pool { name, servers, .. } = &pools[pool];
                Probed {
                    pool: name.clone(),
                    server: servers[at].name().to_owned(),
                    way: way.name(),
                    answered,
                    verdict: kept.lock().verdict(pool, at),
                }
            });
            Ok(join_all(probes).await)
        })
    }
}

impl Handler<Rotate> for Actor {
    fn handle(
        &mut self,
        Rotate(name): &Rotate,
        ctx: &Context<Self>,
    ) -> Reply<Result<Rotation, TurnError>> {
        let at = match self.pool(name) {
            Ok((at, _)) => at,
            Err(error) => return Err(error).into(),
        };
        let (vault, pools, ctx) = (self.vaults[at].clone(), Arc::clone(&self.pools), ctx.clone());
        let (ways, lifetime_s) = (Arc::clone(&self.ways), self.config.lifetime_s);
        Reply::later(async move {
            let pool = (&pools[at], ways[at].as_slice());
            let (secrets, rotation) = rotation::rotate(&vault, pool, lifetime_s).await?;
            ctx.tell(Loaded(at, Ok(secrets)));
            Ok(rotation)
        })
    }
}

impl Handler<Retire> for Actor {
    fn handle(
        &mut self,
        Retire(name): &Retire,
        ctx: &Context<Self>,
    ) -> Reply<Result<Vec<String>, TurnError>> {
        let (at, live) = match self.pool(name) {
            Ok(found) => found,
            Err(error) => return Err(error).into(),
        };
        let (vault, pools, ctx) = (self.vaults[at].clone(), Arc::clone(&self.pools), ctx.clone());
        let ways = Arc::clone(&self.ways);
        Reply::later(async move {
            let pool = (&pools[at], ways[at].as_slice());
            let (secrets, accepting) = rotation::retire(&vault, pool, &live.secrets).await?;
            ctx.tell(Loaded(at, Ok(secrets)));
            Ok(accepting)
        })
    }
}

impl Handler<Drain> for Actor {
    fn handle(
        &mut self,
        Drain { server, drained }: &Drain,
        ctx: &Context<Self>,
    ) -> Reply<Result<(), TurnError>> {
        let is_in = |pool: &Pool| pool.servers.iter().any(|known| known.name() == server);
        let Some(at) = self.pools.iter().position(is_in) else {
            return Err(TurnError::Refused(format!("there is no relay {server}"))).into();
        };
        if *drained && !self.kept.lock().has_another(server) {
            return Err(TurnError::Refused(format!("{server} is the only relay left"))).into();
        }
        let (vault, ctx) = (self.vaults[at].clone(), ctx.clone());
        let (server, drained) = (server.clone(), *drained);
        Reply::later(async move {
            let secrets = vault.change(|secrets| {
                match drained {
                    true => secrets.drained.insert(server.clone()),
                    false => secrets.drained.remove(&server),
                };
                Ok(())
            });
            ctx.tell(Loaded(at, Ok(secrets.await?)));
            log::info!("relay {server} is {}", if drained { "drained" } else { "in use again" });
            Ok(())
        })
    }
}

/// Unix seconds.
pub(crate) fn now() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0, |now| now.as_secs())
}
