//! All that is known of a session, for operators: what is kept, and what those say that have to do
//! with it now. The endpoint at `/1.0/sessions/{id}/timeline` tells what is kept.

use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::web::{Data, Path};
use serde::{Deserialize, Serialize};
use stream_bridge::Bridge;
use stream_protocol::subjects::{self, AgentOp, Bucket};
use stream_protocol::{
    AgentId, AgentOverview, Empty, Op, Presence, Refusal, RelayOverview, SessionDocument,
    SessionId, Status, Timestamp,
};

use crate::auth::authorize_for;
use crate::diagnosis::{Facts, Verdict, diagnose};
use crate::response::{HandlerResult, ok};
use crate::state::State;
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

/// What is known of a session's life, as far as it is an hour old at most.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Timeline {
    session: SessionId,
    /// How the session is now; `null` once its record is gone.
    status: Option<Status>,
    /// What went wrong, as far as it can be told without asking the agent.
    verdict: Verdict,
    /// The oldest first.
    entries: Vec<Step>,
}

/// What NATS has of a session, and of the agent that owns it.
struct Known {
    /// `None` once it is gone, or if the session never came to one.
    document: Option<SessionDocument>,
    steps: Vec<Step>,
    /// `None` where there is no owner, or no sign of life of it.
    agent: Option<Presence>,
    /// Why NATS stores nothing now.
    store: Option<String>,
    at: Timestamp,
}

impl Known {
    /// Reads what there is of session `id`, also when no document of it is left.
    ///
    /// # Errors
    ///
    /// Refuses while NATS is away, and a session of which nothing is known.
    async fn read(bridge: &Bridge, id: &SessionId) -> Result<Self, Refusal> {
        let document = bridge.read::<SessionDocument>(Bucket::Sessions, id.as_str()).await?;
        let document = document.map(|entry| entry.value);
        let steps = timeline::read_steps(bridge, id, is_over(document.as_ref())).await?;
        if document.is_none() && steps.is_empty() {
            return Err(session_documents::not_found());
        }
        let owner = document.as_ref().and_then(|document| document.owner.as_ref());
        let agent = match owner {
            Some(owner) => {
                let present = placement::list(bridge).await?;
                present.into_iter().find(|presence| presence.agent == *owner)
            }
            None => None,
        };
        let (store, at) = (bridge.status().await.error, bridge.now());
        Ok(Self { document, steps, agent, store, at })
    }

    /// Returns what went wrong as far as it can be told by that alone, without asking anybody.
    fn verdict(&self) -> Verdict {
        diagnose(&self.facts())
    }

    fn facts(&self) -> Facts<'_> {
        Facts {
            document: self.document.as_ref(),
            steps: &self.steps,
            at: self.at,
            store: self.store.clone(),
            owner_present: self.agent.is_some(),
            ..Facts::default()
        }
    }
}

/// GET `/1.0/sessions/{id}/timeline`.
pub(crate) async fn read_timeline(
    request: HttpRequest,
    id: Path<String>,
    state: Data<State>,
) -> HandlerResult {
    let (_, session) = authorize_for(&id, &request, &state, Op::SessionExplain).await?;
    let known = Known::read(&state.bridge, &session).await?;
    let verdict = known.verdict();
    let status = known.document.map(|document| document.status);
    Ok(ok(Timeline { session, status, verdict, entries: known.steps }))
}

/// Returns what became of session `id`, by what NATS has and what its agent says now.
///
/// # Errors
///
/// As [`Known::read`].
pub(crate) async fn explain(bridge: &Bridge, id: SessionId) -> Result<SessionExplanation, Refusal> {
    let known = Known::read(bridge, &id).await?;
    let facts = known.facts();
    let (overview, relays) = match &known.agent {
        Some(Presence { agent, .. }) if !is_over(known.document.as_ref()) => {
            tokio::join!(overview(bridge, agent), relays(bridge, agent, facts.waits_for_media()))
        }
        _ => (None, Vec::new()),
    };
    let verdict = diagnose(&Facts { overview, relays, ..facts });
    let Known { document, steps, agent, at, .. } = known;
    Ok(SessionExplanation { id, verdict, document, agent, at, timeline: steps })
}

/// Whether nothing more becomes of the session.
fn is_over(document: Option<&SessionDocument>) -> bool {
    document.is_none_or(|document| document.status.is_final())
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
