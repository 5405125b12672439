//! What every part of this agent may use: its configuration and the actors it asks.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use stream_ams::Ams;
use stream_bridge::{Bridge, BridgeError, Entry, RecordChange, SignalReader};
use stream_pki::Seal;
use stream_protocol::subjects::Bucket;
use stream_protocol::{
    AgentId, Direction, LoggedSignal, Presence, SessionDocument, SessionId, Timestamp,
};
use stream_supervisor::Drain;
use stream_tokens::Tokens;
use stream_turn::Turn;

use crate::arrivals::Arrivals;
use crate::endpoints::Endpoints;
use crate::failure_detector::PresentAgents;
use crate::metrics::SessionMetrics;
use crate::reconcile::Scope;
use crate::session;
use crate::transition::InvalidTransition;
use crate::{Config, SessionsError};

/// The longest lease, whatever is configured: the bucket of presence keeps no entry longer.
const MAX_LEASE_S: u64 = 60;

/// The actors that this one asks.
#[derive(Clone)]
pub struct Dependencies {
    pub ams: Ams,
    pub bridge: Bridge,
    pub tokens: Tokens,
    pub turn: Turn,
    /// Seals what agents tell each other.
    pub seal: Arc<Seal>,
}

/// Configuration and neighbours. Holds no state: nothing in it changes while the agent runs.
pub(crate) struct AgentContext {
    pub(crate) config: Config,
    pub(crate) deps: Dependencies,
    /// Where instances reach this agent and the others.
    pub(crate) endpoints: Endpoints,
    /// Which of them have.
    pub(crate) arrivals: Arrivals,
    /// Whether this agent is to hand its sessions over.
    pub(crate) drain: Drain,
    pub(crate) metrics: SessionMetrics,
}

impl AgentContext {
    pub(crate) fn agent(&self) -> &AgentId {
        &self.config.name
    }

    /// Returns the time by which sessions are judged: that of the store, whatever the clock of this
    /// system says, since other units have written what is judged.
    pub(crate) fn now(&self) -> Timestamp {
        self.deps.bridge.now()
    }

    /// How long an agent without a sign of life counts as being there.
    pub(crate) fn lease(&self) -> Duration {
        Duration::from_secs(self.config.lease_s.clamp(2, MAX_LEASE_S))
    }

    /// Returns the id of the cluster that AMS managed when it was there last: sessions are taken
    /// over and left to others also while it is away.
    pub(crate) async fn last_cluster(&self) -> Result<String, SessionsError> {
        Ok(self.deps.ams.last_cluster().await?.id)
    }

    /// Returns the id of the cluster that AMS manages.
    pub(crate) async fn cluster(&self) -> Result<String, SessionsError> {
        Ok(self.deps.ams.cluster().await?.id)
    }

    /// Returns which instances of `cluster` this deployment owns, for an agent that does not list
    /// them.
    pub(crate) fn scope(&self, cluster: &str) -> Scope {
        Scope {
            agent: self.agent().clone(),
            deployment: self.config.deployment.clone(),
            cluster: cluster.to_owned(),
            store: self.deps.bridge.store_id(),
            gap: Duration::from_secs(self.config.sighting_s),
            leads: false,
        }
    }

    /// Whether this agent answers requests for the session: while it lives, and while its instance
    /// is kept.
    pub(crate) fn answers_for(&self, document: &SessionDocument) -> bool {
        session::is_owned_by(document, self.agent()) && !document.is_over()
    }

    /// Lists the agents that give signs of life.
    pub(crate) async fn present_agents(&self) -> Result<PresentAgents, SessionsError> {
        let mut found = BTreeMap::new();
        let on_change = |key: String, change: RecordChange<Presence>| match change {
            RecordChange::Stored(entry) => drop(found.insert(key, Some(entry.value))),
            RecordChange::Unreadable => drop(found.insert(key, None)),
            RecordChange::Removed => drop(found.remove(&key)),
        };
        self.deps.bridge.changes(Bucket::Agents, 0, on_change).await?;
        Ok(PresentAgents::from_iter(found))
    }

    /// Reads the document of a session.
    pub(crate) async fn read(
        &self,
        id: &SessionId,
    ) -> Result<Entry<SessionDocument>, SessionsError> {
        let read = self.deps.bridge.read(Bucket::Sessions, id.as_str()).await?;
        read.ok_or(SessionsError::Bridge(BridgeError::NotFound))
    }

    /// Whether an answer has passed between the instance and the client of the generation in
    /// `document`, as far as the log of signals goes back. Which of the two makes the offer depends
    /// on the version that they speak.
    pub(crate) async fn has_answered(
        &self,
        document: &SessionDocument,
    ) -> Result<bool, SessionsError> {
        let signals = self.deps.bridge.signals();
        let (id, generation) = (&document.id, document.generation);
        for direction in [Direction::ToClient, Direction::ToInstance] {
            let mut reader = signals.reader(id, direction, None, generation);
            loop {
                let page = reader.next().await?;
                let is_present = |logged: &&LoggedSignal| logged.generation == generation;
                let mut present = page.signals.iter().filter(is_present);
                if present.any(|logged| logged.signal.is_answer()) {
                    return Ok(true);
                }
                if page.signals.len() < SignalReader::MAX_PAGE {
                    break;
                }
            }
        }
        Ok(false)
    }

    /// Applies `transition` to the document of a session and returns what is stored then. The
    /// transition runs again when another writer was faster.
    pub(crate) async fn change(
        &self,
        id: &SessionId,
        transition: impl Fn(&mut SessionDocument) -> Result<(), InvalidTransition>,
    ) -> Result<SessionDocument, SessionsError> {
        let before = Cell::new(None);
        let changed = self.deps.bridge.change_session(id, |document| {
            before.set(Some(document.status));
            transition(document).map_err(|InvalidTransition(why)| SessionsError::Conflict(why))
        });
        let document = changed.await?.value;
        self.metrics.on_change(before.get(), &document, self.now());
        Ok(document)
    }
}
