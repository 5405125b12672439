//! The relays of one reading of the configuration, with all that is known of them. What the file
//! says later makes another set; work that is under way holds on to the one it began with.

use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use stream_bridge::OneTimeSecret;
use stream_pki::Seal;
use tokio::sync::watch;

use crate::metrics::TurnMetrics;
use crate::probe_target::{self, ProbeTargets};
use crate::relays::Relays;
use crate::{Config, Pool, TurnError};

pub(crate) struct RelaySet {
    pub(crate) config: Config,
    pub(crate) pools: Vec<Pool>,
    /// Where the relays of each pool are probed.
    pub(crate) targets: ProbeTargets,
    /// What the secrets of each pool began with.
    pub(crate) first_secrets: Vec<OneTimeSecret>,
    /// Opens the secrets; `None` without relays, since there is nothing to sign.
    pub(crate) seal: Option<Arc<Seal>>,
    /// Whether there was a set before, whose servers some have in their hands.
    pub(crate) replaces_another: bool,
    relays: Mutex<Relays>,
}

impl RelaySet {
    /// Makes the set that `config` names, which has passed its check, to take the place of `before`
    /// if there is one.
    ///
    /// # Errors
    ///
    /// Names a file that cannot be used.
    pub(crate) fn read(config: Config, before: Option<&Self>) -> Result<Self, TurnError> {
        let pools = config.all_pools();
        let seal = match before.and_then(|before| before.seal.clone()) {
            _ if pools.is_empty() => None,
            Some(seal) => Some(seal),
            None => Some(Arc::new(Seal::load(&config.sealing_key)?)),
        };
        // A file is dealt with once, however often the configuration is read.
        let known = before.map_or(&[][..], |before| &before.first_secrets);
        let first_secret = |pool: &Pool| {
            let same = known.iter().find(|known| known.path() == pool.first_secret);
            same.cloned().unwrap_or_else(|| OneTimeSecret::new(&pool.first_secret))
        };
        Ok(Self {
            targets: probe_target::targets(&pools)?,
            first_secrets: pools.iter().map(first_secret).collect(),
            seal,
            replaces_another: before.is_some(),
            relays: Mutex::new(Relays::new(pools.clone())),
            config,
            pools,
        })
    }

    pub(crate) fn relays(&self) -> MutexGuard<'_, Relays> {
        self.relays.lock()
    }
}

/// The set in use, shared by every rebuilt actor: a restart forgets neither what was taken up, nor
/// secrets, nor health, so it needs no NATS.
#[derive(Clone)]
pub(crate) struct SharedState {
    present: Arc<watch::Sender<Arc<RelaySet>>>,
    /// Counts how often other ICE servers came to be handed out.
    changes: Arc<watch::Sender<u64>>,
    pub(crate) metrics: TurnMetrics,
}

impl SharedState {
    pub(crate) fn new(set: RelaySet) -> Self {
        let present = Arc::new(watch::Sender::new(Arc::new(set)));
        Self { present, changes: Arc::default(), metrics: TurnMetrics::default() }
    }

    pub(crate) fn present(&self) -> Arc<RelaySet> {
        Arc::clone(&self.present.borrow())
    }

    /// Puts `set` in the place of the present one, of which it takes over what is known of the
    /// relays that stay.
    pub(crate) fn replace(&self, set: Arc<RelaySet>) {
        set.relays().carry_over(&self.present().relays());
        self.present.send_replace(set);
    }

    /// Returns `work` for `set`, which is given up as soon as another set takes its place.
    pub(crate) fn while_present<W: Future<Output = ()>>(
        &self,
        set: Arc<RelaySet>,
        work: W,
    ) -> impl Future<Output = ()> + use<W> {
        let mut present = self.present.subscribe();
        async move {
            tokio::select! {
                biased;
                () = work => {}
                _ = present.wait_for(|present| !Arc::ptr_eq(present, &set)) => {}
            }
        }
    }

    /// Notes that other ICE servers are handed out from now on.
    pub(crate) fn servers_changed(&self) {
        self.changes.send_modify(|changes| *changes += 1);
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}
