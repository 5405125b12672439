//! The endpoints at `/1.0/agents`: how the agents are, and the order to drain.

mod overviews;

use std::collections::BTreeMap;
use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::web::{Data, Path, Query};
use serde::{Deserialize, Serialize};
use stream_bridge::BridgeError;
use stream_protocol::subjects::{self, AgentOp, Bucket};
use stream_protocol::{
    ActorOverview, AgentId, AgentOverview, DrainAgent, DrainOutcome, Op, Presence, Refusal,
    RefusalCode,
};

pub(crate) use overviews::LatestOverviews;

use crate::auth::{Caller, authorize};
use crate::error::bad_request;
use crate::query::flag;
use crate::response::{HandlerResult, HttpError, ok};
use crate::state::State;

/// How long an agent may take to say that it has taken the order.
const DRAIN_DEADLINE: Duration = Duration::from_secs(5);

/// An agent, as operators see it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "Agent"))]
pub(crate) struct AgentView {
    name: String,
    region: String,
    /// The AMS cluster; empty while AMS has not been reached.
    cluster: String,
    version: String,
    state: AgentState,
    /// Why it is `silent` or `unavailable`; empty otherwise.
    cause: String,
    /// How many more sessions it takes.
    free: u32,
    /// Sessions that it serves or launches.
    sessions: u32,
    /// Sessions that it takes at most.
    places: u32,
    /// How many sessions an agent that drains has still to hand over.
    left: u32,
    /// Seconds until an agent that drains ends, at the latest; `null` for one that stays.
    ends_in_s: Option<u64>,
    /// Whether it takes orders to drain from here.
    remote_drain: bool,
    /// What it depends on: `ok`, or why that is away.
    dependencies: BTreeMap<String, String>,
    actors: Vec<ActorOverview>,
    /// What only an operator can settle, a sentence each.
    alerts: Vec<String>,
}

/// What an agent is doing.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
enum AgentState {
    /// It takes sessions.
    Serving,
    /// It leaves its sessions to others, and takes none.
    Draining,
    /// It has left all its sessions to others, and takes none.
    Drained,
    /// It gives signs of life, and does not say how it is.
    Silent,
    /// It can launch nothing now.
    Unavailable,
}

impl AgentView {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Shows an agent that gives signs of life, with what it says of itself or why it does not.
    fn of(presence: Presence, told: Result<AgentOverview, String>) -> Self {
        let (told, silent) = match told {
            Ok(told) => (told, None),
            Err(why) => (AgentOverview::default(), Some(why)),
        };
        let state = match (&silent, &presence.unavailable) {
            (Some(_), _) => AgentState::Silent,
            (None, _) if told.draining && told.sessions == 0 => AgentState::Drained,
            (None, _) if told.draining => AgentState::Draining,
            (None, Some(_)) => AgentState::Unavailable,
            (None, None) => AgentState::Serving,
        };
        Self {
            name: presence.agent.to_string(),
            region: presence.region,
            cluster: presence.cluster,
            version: presence.version,
            state,
            cause: silent.or(presence.unavailable).unwrap_or_default(),
            free: presence.capacity,
            sessions: told.sessions,
            places: told.places,
            left: if told.draining { told.left } else { 0 },
            ends_in_s: told.ends_in_s,
            remote_drain: told.remote_drain,
            dependencies: told.dependencies,
            actors: told.actors,
            alerts: told.alerts,
        }
    }
}

/// GET `/1.0/agents`: every agent that gives signs of life. However many ask, each agent is asked
/// once a second.
pub(crate) async fn list(request: HttpRequest, state: Data<State>) -> HandlerResult {
    authorize(&request, &state, Op::AgentRead, None).await?;
    Ok(ok(&*state.agent_overviews.get(&state.bridge).await?))
}

/// The query of an order to drain.
#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct DrainQuery {
    /// Whether it drains also as the last agent of its cluster that takes sessions.
    #[cfg_attr(test, schemars(with = "Option<bool>", extend("default" = false)))]
    force: Option<String>,
}

/// POST `/1.0/agents/{id}/drain`: the agent takes no more sessions, leaves those that it has to
/// others, and stays.
pub(crate) async fn drain(
    request: HttpRequest,
    id: Path<String>,
    state: Data<State>,
) -> HandlerResult {
    let caller = authorize(&request, &state, Op::AgentDrain, None).await?;
    let query = Query::<DrainQuery>::from_query(request.query_string());
    let DrainQuery { force } =
        query.map_err(|_| bad_request("the query is malformed"))?.into_inner();
    let order = DrainAgent { drain: true, force: flag("force", force.as_deref())? };
    give(&order, &id, &caller, &state).await
}

/// DELETE `/1.0/agents/{id}/drain`: the agent takes sessions again.
pub(crate) async fn cancel_drain(
    request: HttpRequest,
    id: Path<String>,
    state: Data<State>,
) -> HandlerResult {
    let caller = authorize(&request, &state, Op::AgentDrain, None).await?;
    give(&DrainAgent { drain: false, force: false }, &id, &caller, &state).await
}

async fn give(order: &DrainAgent, id: &str, caller: &Caller, state: &State) -> HandlerResult {
    let agent: AgentId = id.parse().map_err(|_| no_such_agent())?;
    let asked = state.bridge.ask(subjects::agent(&agent, AgentOp::Drain), order, DRAIN_DEADLINE);
    let outcome = match asked.await {
        Ok(outcome) => outcome,
        Err(BridgeError::NoResponder) => return Err(silence(&agent, state).await?.into()),
        Err(error) => return Err(Refusal::from(error).into()),
    };
    if let Some(refused) = refused(outcome) {
        return Err(refused);
    }
    state.agent_overviews.forget().await;
    let (DrainAgent { drain, force }, token) = (order, &caller.claims.id);
    log::info!(agent:%, drain, force, caller:%, token:%; "an agent was told to drain, or not to");
    Ok(ok(()))
}

/// Returns why nobody answers for `agent`.
async fn silence(agent: &AgentId, state: &State) -> Result<Refusal, Refusal> {
    let present = state.bridge.read::<Presence>(Bucket::Agents, agent.as_str()).await?;
    let sentence = "the agent gives signs of life, and takes no orders: its release is older, or \
                    it has lost NATS";
    Ok(present.map_or_else(no_such_agent, |_| Refusal::new(RefusalCode::Unavailable, sentence)))
}

fn no_such_agent() -> Refusal {
    Refusal::new(RefusalCode::NotFound, "no such agent is there")
}

/// Returns the answer to an order that was not carried out.
fn refused(outcome: DrainOutcome) -> Option<HttpError> {
    let conflict = |text: &str| HttpError::Conflict { text: text.to_owned(), retry_after_s: None };
    Some(match outcome {
        DrainOutcome::Done => return None,
        DrainOutcome::Ending => conflict("the agent drains and ends, as its machine was told"),
        DrainOutcome::LastOne => conflict(
            "no other agent of its cluster takes sessions: those that it has would stay, and new \
             ones find no place; with force=true it drains all the same",
        ),
        DrainOutcome::NotAllowed => HttpError::forbidden(
            "the agent takes no such orders: remote_drain under [agent] of its configuration is \
             false",
        ),
        DrainOutcome::NotDraining => conflict("the agent is not draining"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn presence() -> Presence {
        serde_json::from_str(
            r#"{"agent":"a","region":"eu","cluster":"c","capacity":3,"draining":false,
                "version":"1"}"#,
        )
        .unwrap()
    }

    fn state(presence: Presence, told: Result<AgentOverview, &str>) -> AgentState {
        AgentView::of(presence, told.map_err(str::to_owned)).state
    }

    #[test]
    fn what_an_agent_says_of_itself_counts_and_silence_is_shown() {
        let well = AgentOverview::default();
        let drains = AgentOverview { draining: true, sessions: 2, ..well.clone() };
        let ill = Presence { unavailable: Some("AMS is away".into()), ..presence() };
        assert_eq!(state(presence(), Ok(well.clone())), AgentState::Serving);
        assert_eq!(state(presence(), Ok(drains.clone())), AgentState::Draining);
        let drained = AgentOverview { sessions: 0, ..drains };
        assert_eq!(state(ill.clone(), Ok(drained)), AgentState::Drained);
        assert_eq!(state(ill.clone(), Ok(well)), AgentState::Unavailable);
        assert_eq!(state(ill.clone(), Err("no answer")), AgentState::Silent);
        assert_eq!(AgentView::of(ill.clone(), Ok(AgentOverview::default())).cause, "AMS is away");
        assert_eq!(AgentView::of(ill, Err("no answer".into())).cause, "no answer");
    }
}
