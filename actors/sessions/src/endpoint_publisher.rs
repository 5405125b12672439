//! What this agent tells the others of where instances reach it, and what it hears of them.
//!
//! The records are sealed with the key that agents alone have: whoever can write to the store, as a
//! gateway can, must not send instances and their tokens elsewhere.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use stream_bridge::{BridgeError, IncrementalReader, RecordChange};
use stream_pki::Seal;
use stream_protocol::subjects::Bucket;
use stream_protocol::{AgentEndpoint, AgentId, Timestamp};
use tokio::time::Instant;

use crate::context::AgentContext;

/// How often the record is stored, whether or not anything has changed.
const REFRESH: Duration = Duration::from_secs(60);

/// How long a record is kept, and believed, that is not stored again.
const RECORD_TTL: Duration = Duration::from_secs(300);

/// What an agent says of itself, sealed for its name.
#[derive(Deserialize, Serialize)]
struct Announcement {
    agent: AgentId,
    cluster: String,
    endpoint: AgentEndpoint,
    /// By the clock of the store.
    at: Timestamp,
}

/// The record of an announcement.
#[derive(Deserialize, Serialize)]
struct Record {
    /// Base64.
    sealed: String,
}

impl Announcement {
    fn seal(&self, seal: &Seal) -> Record {
        let text = serde_json::to_vec(self).expect("an announcement serializes");
        Record { sealed: STANDARD.encode(seal.seal(&associated(&self.agent), &text)) }
    }

    /// Opens the record under the name `agent`. Returns `None` for what no agent has sealed for
    /// that name, and for what one said long before `now`.
    fn open(record: &Record, agent: &AgentId, seal: &Seal, now: Timestamp) -> Option<Self> {
        let sealed = STANDARD.decode(&record.sealed).ok()?;
        let text = seal.open(&associated(agent), &sealed).ok()?;
        let announcement: Self = serde_json::from_slice(&text).ok()?;
        (announcement.agent == *agent && announcement.is_fresh(now)).then_some(announcement)
    }

    /// Whether it was said lately, and no other clock is behind it.
    fn is_fresh(&self, now: Timestamp) -> bool {
        now - self.at < RECORD_TTL && self.at - now < RECORD_TTL
    }
}

/// Separates this record from all else that is sealed with the key.
fn associated(agent: &AgentId) -> Vec<u8> {
    format!("endpoint of agent {agent}").into_bytes()
}

/// Tells the other agents where this one is, and listens to them.
pub(crate) struct EndpointPublisher {
    pub(crate) context: Arc<AgentContext>,
    /// What was stored last, and when.
    stored: Option<(AgentEndpoint, String, Instant)>,
    /// What the others say, whatever their cluster.
    others: BTreeMap<AgentId, Announcement>,
    reader: IncrementalReader,
}

impl EndpointPublisher {
    pub(crate) fn new(context: Arc<AgentContext>) -> Self {
        let reader = IncrementalReader::new(Bucket::Endpoints);
        Self { context, stored: None, others: BTreeMap::new(), reader }
    }

    /// Looks four times per lease whether there is something to say or to hear.
    pub(crate) async fn run(mut self) {
        loop {
            if let Err(error) = self.turn().await {
                log::debug!(error:%; "the endpoints of the agents are those of before");
            }
            tokio::time::sleep(self.context.lease() / 4).await;
        }
    }

    async fn turn(&mut self) -> Result<(), BridgeError> {
        // Before AMS was there nothing is launched, and no instance asks for anybody.
        let Ok(cluster) = self.context.last_cluster().await else { return Ok(()) };
        self.publish(&cluster).await?;
        self.listen(&cluster).await
    }

    async fn publish(&mut self, cluster: &str) -> Result<(), BridgeError> {
        let endpoint = self.context.endpoints.own();
        let is_stored = self.stored.as_ref().is_some_and(|(stored, in_cluster, at)| {
            *stored == endpoint && in_cluster == cluster && !is_due(Some(*at))
        });
        if is_stored || self.context.drain.is_draining() {
            return Ok(());
        }
        let (bridge, agent) = (&self.context.deps.bridge, self.context.agent().clone());
        let cluster = cluster.to_owned();
        let announcement = Announcement { agent, cluster, endpoint, at: bridge.now() };
        let record = announcement.seal(&self.context.deps.seal);
        let key = announcement.agent.as_str();
        bridge.put_with_ttl(Bucket::Endpoints, key, &record, RECORD_TTL).await?;
        let Announcement { endpoint, cluster, .. } = announcement;
        let before = self.stored.replace((endpoint.clone(), cluster, Instant::now()));
        if before.is_none_or(|(before, ..)| before != endpoint) {
            self.context.endpoints.notify();
        }
        Ok(())
    }

    async fn listen(&mut self, cluster: &str) -> Result<(), BridgeError> {
        let context = &self.context;
        let (seal, now) = (&context.deps.seal, context.deps.bridge.now());
        let keep = |key: String, change: RecordChange<Record>| {
            let agent = key.parse::<AgentId>().ok()?;
            let said = match change {
                RecordChange::Stored(entry) => Announcement::open(&entry.value, &agent, seal, now),
                RecordChange::Removed | RecordChange::Unreadable => None,
            };
            Some((agent, said))
        };
        let increment = self.reader.read(&context.deps.bridge, keep).await?;
        if increment.is_whole {
            self.others.clear();
        }
        for (agent, said) in increment.changes {
            match said.filter(|said| said.agent != *context.agent()) {
                Some(said) => drop(self.others.insert(agent, said)),
                None => drop(self.others.remove(&agent)),
            }
        }
        // Whoever can write to the store could keep a record there for longer than it is good.
        self.others.retain(|_, said| said.is_fresh(now));
        let here = self.others.iter().filter(|(_, said)| said.cluster == cluster);
        let here = here.map(|(agent, said)| (agent.clone(), said.endpoint.clone()));
        context.endpoints.set_others(here.collect());
        Ok(())
    }
}

fn is_due(last: Option<Instant>) -> bool {
    last.is_none_or(|last| last.elapsed() >= REFRESH)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal(text: &str) -> Seal {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sealing.key");
        stream_pki::write_new(&path, text.repeat(64).as_bytes(), 0o600).unwrap();
        Seal::load(&path).unwrap()
    }

    fn endpoint(url: &str) -> AgentEndpoint {
        AgentEndpoint { url: url.to_owned(), fingerprints: vec!["00".to_owned()] }
    }

    #[test]
    fn an_agent_believes_what_agents_have_sealed_under_their_own_name_and_lately() {
        let (agents, gateways) = (seal("a"), seal("g"));
        let (agent, other): (AgentId, AgentId) = ("a".parse().unwrap(), "b".parse().unwrap());
        let at = Timestamp::from_unix(1_700_000_000);
        let said = Announcement {
            agent: agent.clone(),
            cluster: "c".to_owned(),
            endpoint: endpoint("https://a:1"),
            at,
        };
        let record = said.seal(&agents);
        let open = |record: &Record, agent: &AgentId, seal: &Seal, now| {
            Announcement::open(record, agent, seal, now).map(|said| said.endpoint.url)
        };
        assert_eq!(open(&record, &agent, &agents, at).as_deref(), Some("https://a:1"));
        let soon = at + RECORD_TTL - Duration::from_secs(1);
        assert!(open(&record, &agent, &agents, soon).is_some());
        // Kept by somebody and put back later; from the future; of another; sealed by a gateway.
        assert_eq!(open(&record, &agent, &agents, at + RECORD_TTL), None);
        assert_eq!(open(&record, &agent, &agents, at - RECORD_TTL), None);
        assert_eq!(open(&record, &other, &agents, at), None);
        assert_eq!(open(&said.seal(&gateways), &agent, &agents, at), None);
        assert_eq!(open(&Record { sealed: "?".to_owned() }, &agent, &agents, at), None);
        let posing = Announcement { agent: other.clone(), ..said };
        assert_eq!(open(&posing.seal(&agents), &agent, &agents, at), None);
    }
}
