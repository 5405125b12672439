//! The actor: keeps the secrets up to date, and the probes going.

use std::sync::Arc;
use std::time::Duration;

use actix::Message;
use futures_util::FutureExt;
use futures_util::future::join_all;
use stream_bridge::{Bridge, SealedError, SealedRecord};
use stream_pki::Seal;
use stream_protocol::IceServer;
use stream_protocol::subjects::Bucket;
use stream_supervisor::{Context, Handler, Reply, Worker};
use tokio::time::sleep;

use crate::config::DEFAULT_POOL;
use crate::health::Change;
use crate::metrics::TurnMetrics;
use crate::probe::{Unfit, probe, serves};
use crate::relay_set::{RelaySet, SharedState};
use crate::relays::PoolSecrets;
use crate::rotation;
use crate::secrets::Secrets;
use crate::{
    Config, Drain, GetRelays, IssueIceServers, Pool, Probe, ProbeReport, Ready, Retire, Rotate,
    Rotation, TakeUp, TurnError, ice,
};

/// The sealed record with the secrets of the default pool; other pools append their name.
const RECORD: &str = "agent.turn";

/// How long the probe of a relay may take, at most: a client has more.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long each part of a probe may take that an operator waits for.
const REPORT_TIMEOUT: Duration = Duration::from_secs(3);

/// The pause between looks for a secret, as long as there is none.
const NO_SECRET_PAUSE: Duration = Duration::from_millis(500);

pub(crate) struct Actor {
    bridge: Bridge,
    shared: SharedState,
    set: Arc<RelaySet>,
    /// The secrets of each pool of the set.
    records: Vec<SealedRecord<Secrets>>,
    /// Why the secrets of a pool could not be read the last time.
    load_errors: Vec<Option<Arc<SealedError>>>,
}

impl Actor {
    pub(crate) fn new(bridge: Bridge, shared: SharedState) -> Self {
        let set = shared.present();
        let (records, load_errors) = (records(&bridge, &set), vec![None; set.pools.len()]);
        Self { bridge, shared, set, records, load_errors }
    }

    /// Follows the secrets of the pools of the present set, and probes its relays, until another
    /// one takes its place.
    fn start_work(&self, ctx: &Context<Self>) {
        let spawn_work = |work| ctx.spawn(self.shared.while_present(Arc::clone(&self.set), work));
        for (at, (pool, record)) in self.set.pools.iter().zip(&self.records).enumerate() {
            let set = || Arc::clone(&self.set);
            spawn_work(Self::follow(set(), at, record.clone(), ctx.clone()).boxed_local());
            for server in 0..pool.servers.len() {
                let parts = (self.bridge.clone(), self.shared.metrics.clone());
                let probes = Self::run_probes(set(), (at, server), parts, ctx.clone());
                spawn_work(probes.boxed_local());
            }
        }
    }

    /// Returns why the secrets of a pool are not known, if they are not.
    fn error(&self, pool: usize) -> Option<TurnError> {
        self.secrets(pool).err()
    }

    /// Returns the secrets of a pool.
    fn secrets(&self, pool: usize) -> Result<Arc<PoolSecrets>, TurnError> {
        self.set.relays().secrets(pool).ok_or_else(|| match &self.load_errors[pool] {
            None => TurnError::NotReady("it has not been read yet".to_owned()),
            Some(error) => error.as_ref().into(),
        })
    }

    /// Returns the pool called `name` and its secrets.
    fn pool(&self, name: &str) -> Result<(usize, Arc<PoolSecrets>), TurnError> {
        let at = self.set.pools.iter().position(|pool| pool.name == name);
        let at = at.ok_or_else(|| TurnError::Refused(format!("there is no pool {name:?}")))?;
        Ok((at, self.secrets(at)?))
    }

    /// Has the file go that `pool` began with, once the pools that share it are stored. A relay has
    /// accepted its secret by then, so that nobody has to look it up any more.
    fn settle_first_secret(&self, pool: usize) {
        let file = &self.set.first_secrets[pool];
        let shares = |at: &usize| self.set.first_secrets[*at].path() == file.path();
        let secrets =
            (0..self.set.pools.len()).filter(shares).map(|at| self.set.relays().secrets(at));
        let Some(secrets) = secrets.collect::<Option<Vec<_>>>() else { return };
        file.settle(|path| {
            let mut held = secrets.iter().map(|one| one.secrets.hold(path));
            held.try_fold(true, |all, one| Ok(all && one?))
        });
    }

    async fn follow(
        set: Arc<RelaySet>,
        pool: usize,
        record: SealedRecord<Secrets>,
        ctx: Context<Self>,
    ) {
        let first = || Secrets::first(set.first_secrets[pool].path());
        record.watch(first, |secrets| ctx.tell(SecretsRead(Arc::clone(&set), pool, secrets))).await;
    }

    async fn run_probes(
        set: Arc<RelaySet>,
        (pool, at): (usize, usize),
        (bridge, metrics): (Bridge, TurnMetrics),
        ctx: Context<Self>,
    ) {
        let Config { probe_s, lifetime_s, .. } = set.config;
        let period = Duration::from_secs(probe_s);
        // Two probes and the time they take are done within two periods. TLS over a long way needs
        // five or six round trips.
        let within = PROBE_TIMEOUT.min(period * 3 / 10);
        loop {
            let begun = tokio::time::Instant::now();
            let secrets = set.relays().secrets(pool);
            let Some(secrets) = secrets else {
                sleep(NO_SECRET_PAUSE).await;
                continue;
            };
            // As long as that of a client: a relay whose clock is ahead refuses what is shorter.
            let credential = secrets.signer.probe(bridge.now().plus_secs(lifetime_s));
            let end = metrics.observe(serves(&set.targets[pool][at], &credential, within)).await;
            ctx.tell(ProbeFinished(Arc::clone(&set), pool, at, end));
            tokio::time::sleep_until(begun + period.mul_f64(0.65 + 0.15 * fastrand::f64())).await;
        }
    }
}

/// Returns where the secrets of the pools of `set` are.
fn records(bridge: &Bridge, set: &RelaySet) -> Vec<SealedRecord<Secrets>> {
    let sealed = |(pool, seal): (&Pool, &Arc<Seal>)| {
        let (bucket, name) = (Bucket::KeysAgent, record_name(pool));
        SealedRecord::new(bridge.clone(), Arc::clone(seal), bucket, name, &set.config.state)
    };
    // Without a seal there are no pools.
    set.pools.iter().zip(std::iter::repeat(set.seal.as_ref()).flatten()).map(sealed).collect()
}

fn record_name(pool: &Pool) -> String {
    match pool.name.as_str() {
        DEFAULT_POOL => RECORD.to_owned(),
        name => format!("{RECORD}.{name}"),
    }
}

impl Worker for Actor {
    fn started(&mut self, ctx: &Context<Self>) {
        self.start_work(ctx);
    }
}

/// The secrets of a pool of a set were read, or could not be.
#[derive(Message)]
#[rtype(result = "()")]
struct SecretsRead(Arc<RelaySet>, usize, Result<Secrets, Arc<SealedError>>);

/// How the probe of a relay of a set ended: it serves clients, or why it does not.
#[derive(Message)]
#[rtype(result = "()")]
struct ProbeFinished(Arc<RelaySet>, usize, usize, Result<(), Unfit>);

impl Handler<TakeUp> for Actor {
    fn handle(&mut self, TakeUp { set, changes }: &TakeUp, ctx: &Context<Self>) -> Reply<()> {
        self.shared.replace(Arc::clone(set));
        *self = Self::new(self.bridge.clone(), self.shared.clone());
        self.start_work(ctx);
        if !changes.is_empty() {
            self.shared.servers_changed();
        }
        ().into()
    }
}

impl Handler<SecretsRead> for Actor {
    fn handle(
        &mut self,
        SecretsRead(set, pool, secrets): &SecretsRead,
        _: &Context<Self>,
    ) -> Reply<()> {
        // What was read for another set is read for this one too.
        if !Arc::ptr_eq(set, &self.set) {
            return ().into();
        }
        self.load_errors[*pool] = match secrets {
            Ok(secrets) => {
                let secrets = Arc::new(PoolSecrets::new(secrets.clone()));
                let mut relays = set.relays();
                let is_new = set.replaces_another && relays.secrets(*pool).is_none();
                relays.secrets_read(*pool, secrets);
                if is_new {
                    // Whoever was given servers meanwhile has none of this pool.
                    self.shared.servers_changed();
                }
                None
            }
            Err(error) => Some(Arc::clone(error)),
        };
        ().into()
    }
}

impl Handler<ProbeFinished> for Actor {
    fn handle(
        &mut self,
        ProbeFinished(set, pool, server, end): &ProbeFinished,
        _: &Context<Self>,
    ) -> Reply<()> {
        if !Arc::ptr_eq(set, &self.set) {
            return ().into();
        }
        let change = self.set.relays().probed(*pool, *server, end.is_ok());
        let name = self.set.pools[*pool].servers[*server].name();
        match (change, end) {
            (Some(Change::Withheld), Err(Unfit { cause, .. })) => {
                log::warn!(relay:% = name, cause:%; "relay is withheld")
            }
            (Some(Change::Restored), _) => log::info!(relay:% = name; "relay is handed out again"),
            _ => {}
        }
        if end.is_ok() {
            self.settle_first_secret(*pool);
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
        let load_errors = || (0..self.set.pools.len()).map(|pool| self.error(pool));
        // One pool whose secret is known is enough.
        if let Some(Some(error)) = load_errors().next()
            && load_errors().all(|error| error.is_some())
        {
            return Err(error).into();
        }
        let config = &self.set.config;
        let expiry = config.expiry(ask.terms, self.bridge.now());
        Ok(ice::servers(&config.stun, &self.set.relays(), ask, expiry)).into()
    }
}

impl Handler<Ready> for Actor {
    fn handle(&mut self, _: &Ready, _: &Context<Self>) -> Reply<Result<(), TurnError>> {
        let error = (0..self.set.pools.len()).find_map(|pool| self.error(pool));
        error.map_or(Ok(()), Err).into()
    }
}

impl Handler<GetRelays> for Actor {
    fn handle(&mut self, _: &GetRelays, _: &Context<Self>) -> Reply<Result<(), TurnError>> {
        match self.set.relays().fallback() {
            None => Ok(()),
            Some(name) => Err(TurnError::NoGoodRelay(name.to_owned())),
        }
        .into()
    }
}

impl Handler<Probe> for Actor {
    fn handle(
        &mut self,
        _: &Probe,
        _: &Context<Self>,
    ) -> Reply<Result<Vec<ProbeReport>, TurnError>> {
        let secrets = (0..self.set.pools.len()).map(|pool| self.secrets(pool));
        let secrets = match secrets.collect::<Result<Vec<_>, _>>() {
            Ok(secrets) => secrets,
            Err(error) => return Err(error).into(),
        };
        let (set, now) = (Arc::clone(&self.set), self.bridge.now());
        Reply::later(async move {
            let mut probes = Vec::new();
            for (pool, secrets) in secrets.iter().enumerate() {
                for (at, targets) in set.targets[pool].iter().enumerate() {
                    probes.extend(targets.iter().map(|target| (pool, at, target, secrets)));
                }
            }
            let probes = probes.into_iter().map(async |(pool, at, target, secrets)| {
                let expiry = now.plus_secs(set.config.lifetime_s);
                let credential = secrets.signer.probe(expiry);
                let timings = probe(target, &credential, REPORT_TIMEOUT).await;
                let Pool { name, servers, .. } = &set.pools[pool];
                ProbeReport {
                    pool: name.clone(),
                    server: servers[at].name().to_owned(),
                    transport: target.name(),
                    timings,
                    state: set.relays().state(pool, at),
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
        let (record, set, ctx) = (self.records[at].clone(), Arc::clone(&self.set), ctx.clone());
        Reply::later(async move {
            let pool = (&set.pools[at], set.targets[at].as_slice());
            let (secrets, rotation) = rotation::rotate(&record, pool, &set.config).await?;
            ctx.tell(SecretsRead(set, at, Ok(secrets)));
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
        let (at, secrets) = match self.pool(name) {
            Ok(found) => found,
            Err(error) => return Err(error).into(),
        };
        let (record, set, ctx) = (self.records[at].clone(), Arc::clone(&self.set), ctx.clone());
        Reply::later(async move {
            let pool = (&set.pools[at], set.targets[at].as_slice());
            let (secrets, accepting) =
                rotation::retire(&record, pool, &secrets.secrets, set.config.lifetime_s).await?;
            ctx.tell(SecretsRead(set, at, Ok(secrets)));
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
        let Some(at) = self.set.pools.iter().position(is_in) else {
            return Err(TurnError::Refused(format!("there is no relay {server}"))).into();
        };
        if *drained && !self.set.relays().has_another(server) {
            return Err(TurnError::Refused(format!("{server} is the only relay left"))).into();
        }
        let (record, set, ctx) = (self.records[at].clone(), Arc::clone(&self.set), ctx.clone());
        let (server, drained) = (server.clone(), *drained);
        Reply::later(async move {
            let edit = |secrets: &mut Secrets| {
                match drained {
                    true => secrets.drained.insert(server.clone()),
                    false => secrets.drained.remove(&server),
                };
                Ok::<_, TurnError>(())
            };
            ctx.tell(SecretsRead(set, at, Ok(record.update(edit).await?)));
            let state = if drained { "drained" } else { "in use again" };
            log::info!(relay:% = server; "relay is {state}");
            Ok(())
        })
    }
}
