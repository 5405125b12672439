//! All that is known of a session, for operators: what is kept, and what those say that have to do
//! with it now.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use stream_bridge::Bridge;
use stream_protocol::subjects::{self, AgentOp, Bucket};
use stream_protocol::{
    AgentId, AgentOverview, Empty, Presence, Refusal, RelayOverview, SessionDocument, SessionId,
    Timestamp,
};

use crate::diagnosis::{Facts, Verdict, diagnose};
use crate::timeline::Step;
use crate::{placement, session_documents, timeline};

/// How long an agent may take to say how it is.
const OVERVIEW_DEADLINE: Duration = Duration::from_millis(1_500);

/// How long it may take to try its relays, each for 3 s; less than an operator waits.
const RELAYS_DEADLINE: Duration = Duration::from_secs(4);

/// All that is known of a session; times in Unix seconds. No token and no candidate is part of it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct SessionExplanation {
    pub id: SessionId,
    /// What went wrong, where, and what to do about it.
    pub verdict: Verdict,
    /// The document of the session; `None` once it is gone, or if it never came to one.
    pub document: Option<SessionDocument>,
    /// The presence of the agent that owns the session, if there is one.
    pub agent: Option<Presence>,
    /// The time of the answer, by the clock of NATS, as all times in it.
    pub at: Timestamp,
    /// What happened in the last hour, the oldest first.
    #[serde(default)]
    pub timeline: Vec<Step>,
}

/// Returns what became of session `id`, also when no document of it is left.
///
/// # Errors
///
/// Refuses while NATS is away, and a session of which nothing is known.
pub(crate) async fn explain(bridge: &Bridge, id: SessionId) -> Result<SessionExplanation, Refusal> {
    let document = bridge.read::<SessionDocument>(Bucket::Sessions, id.as_str()).await?;
    let document = document.map(|entry| entry.value);
    let is_over = document.as_ref().is_none_or(|document| document.status.is_final());
    let steps = timeline::read_steps(bridge, &id, is_over).await?;
    if document.is_none() && steps.is_empty() {
        return Err(session_documents::not_found());
    }
    let present = placement::list(bridge).await?;
    let owner = document.as_ref().and_then(|document| document.owner.clone());
    let owns = |presence: &Presence| owner.as_ref() == Some(&presence.agent);
    let agent = present.into_iter().find(owns);
    let facts = Facts {
        document: document.as_ref(),
        steps: &steps,
        at: bridge.now(),
        store: bridge.status().await.error,
        owner_present: agent.is_some(),
        ..Facts::default()
    };
    let (overview, relays) = match (&owner, is_over || agent.is_none()) {
        (Some(owner), false) => {
            tokio::join!(overview(bridge, owner), relays(bridge, owner, facts.waits_for_media()))
        }
        _ => (None, Vec::new()),
    };
    let facts = Facts { overview, relays, ..facts };
    let (verdict, at) = (diagnose(&facts), facts.at);
    Ok(SessionExplanation { id, verdict, document, agent, at, timeline: steps })
}

/// What an agent says of itself, if it answers in time.
async fn overview(bridge: &Bridge, agent: &AgentId) -> Option<AgentOverview> {
    let subject = subjects::agent(agent, AgentOp::Overview);
    bridge.ask(subject, &Empty {}, OVERVIEW_DEADLINE).await.ok()
}

/// What an agent finds of its relays, if they are `wanted` and it says so in time.
async fn relays(bridge: &Bridge, agent: &AgentId, wanted: bool) -> Vec<RelayOverview> {
    if !wanted {
        return Vec::new();
    }
    let subject = subjects::agent(agent, AgentOp::Relays);
    bridge.ask(subject, &Empty {}, RELAYS_DEADLINE).await.unwrap_or_default()
}
