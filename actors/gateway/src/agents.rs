//! The endpoints at `/1.0/agents`: how the agents are, and the order to drain.

use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::web::{Data, Path, Query};
use serde::Deserialize;
use stream_bridge::BridgeError;
use stream_protocol::subjects::{self, AgentOp, Bucket};
use stream_protocol::{AgentId, DrainAgent, DrainOutcome, Op, Presence, Refusal, RefusalCode};

use crate::agent_view::{self, AgentView};
use crate::auth::{Caller, authorize};
use crate::error::bad_request;
use crate::query::flag;
use crate::response::{HandlerResult, HttpError, ok};
use crate::state::State;

/// How long an agent may take to say that it has taken the order.
const DRAIN_DEADLINE: Duration = Duration::from_secs(5);

/// Returns every agent that gives signs of life, by name, as it was within the last second.
///
/// # Errors
///
/// Refuses while NATS is away.
pub(crate) async fn latest(state: &State) -> Result<Arc<Vec<AgentView>>, Refusal> {
    state.agent_views.get(|| agent_view::ask_all(&state.bridge)).await
}

/// GET `/1.0/agents`: every agent that gives signs of life.
pub(crate) async fn list(request: HttpRequest, state: Data<State>) -> HandlerResult {
    authorize(&request, &state, Op::AgentRead, None).await?;
    Ok(ok(&*latest(&state).await?))
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
    let force = flag("force", force.as_deref())?;
    give((true, force), &id, &caller, &state).await
}

/// DELETE `/1.0/agents/{id}/drain`: the agent takes sessions again.
pub(crate) async fn cancel_drain(
    request: HttpRequest,
    id: Path<String>,
    state: Data<State>,
) -> HandlerResult {
    let caller = authorize(&request, &state, Op::AgentDrain, None).await?;
    give((false, false), &id, &caller, &state).await
}

async fn give(
    (drain, force): (bool, bool),
    id: &str,
    caller: &Caller,
    state: &State,
) -> HandlerResult {
    let agent: AgentId = id.parse().map_err(|_| no_such_agent())?;
    let until = state.bridge.now() + DRAIN_DEADLINE;
    let order = DrainAgent { drain, force, until };
    let asked = state.bridge.ask(subjects::agent(&agent, AgentOp::Drain), &order, DRAIN_DEADLINE);
    let outcome = match asked.await {
        Ok(outcome) => outcome,
        Err(BridgeError::NoResponder) => return Err(silence(&agent, state).await?.into()),
        Err(error) => return Err(Refusal::from(error).into()),
    };
    if let Some(refused) = refused(outcome) {
        return Err(refused);
    }
    state.agent_views.forget().await;
    let token = &caller.claims.id;
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
    Some(match outcome {
        DrainOutcome::Done => return None,
        DrainOutcome::Ending => {
            HttpError::conflict("the agent drains and ends, as its machine was told")
        }
        DrainOutcome::LastOne => HttpError::conflict(
            "no other agent of its cluster takes sessions: those that it has would stay, and new \
             ones find no place; with force=true it drains all the same",
        ),
        DrainOutcome::NotAllowed => HttpError::forbidden(
            "the agent takes no such orders: remote_drain under [agent] of its configuration is \
             false",
        ),
        DrainOutcome::NotDraining => HttpError::conflict("the agent is not draining"),
    })
}
