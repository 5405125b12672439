//! The endpoint at `/1.0/sessions/{id}/timeline`: what happened to a session, hop by hop.

use actix_web::HttpRequest;
use actix_web::web::{Data, Path};
use serde::{Deserialize, Serialize};
use stream_bridge::{Bridge, PastEntry};
use stream_protocol::{Hop, Op, Refusal, SessionId, Status, TimelineEntry};

use crate::auth::authorize_for;
use crate::response::{HandlerResult, ok};
use crate::session_documents;
use crate::state::State;

/// What is known of a session's life, as far as it is an hour old at most.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Timeline {
    session: SessionId,
    /// How the session is now; `null` once its record is gone.
    status: Option<Status>,
    /// The oldest first.
    entries: Vec<Step>,
}

/// One step of a session's life.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Step {
    /// When it had come about: Unix time in milliseconds, by the clock of NATS.
    pub at_ms: u64,
    /// How long it took, where that is known.
    pub took_ms: Option<u64>,
    pub hop: Hop,
    /// The service that tells it.
    pub unit: String,
    pub text: String,
    pub failed: bool,
    /// How often it has happened by now.
    pub count: u64,
}

/// GET `/1.0/sessions/{id}/timeline`.
pub(crate) async fn read(
    request: HttpRequest,
    id: Path<String>,
    state: Data<State>,
) -> HandlerResult {
    let (_, session) = authorize_for(&id, &request, &state, Op::SessionExplain).await?;
    let found = state.views.session(&session).await?;
    let entries = read_steps(&state.bridge, &session).await?;
    if found.is_none() && entries.is_empty() {
        return Err(session_documents::not_found().into());
    }
    let status = found.map(|session| session.status);
    Ok(ok(Timeline { session, status, entries }))
}

/// Returns what is known of a session's life.
///
/// # Errors
///
/// Refuses while NATS is away.
pub(crate) async fn read_steps(bridge: &Bridge, id: &SessionId) -> Result<Vec<Step>, Refusal> {
    Ok(steps(bridge.timeline(id).await?))
}

/// Makes one step of what a unit has counted, and finds how long AMS and the boot took: each ends
/// what the one before began.
fn steps(past: Vec<PastEntry>) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for PastEntry { at_ms, entry } in past {
        let TimelineEntry { hop, unit, text, took_ms, failed, count } = entry;
        let is_known = |step: &&mut Step| {
            count > 1 && step.hop == hop && step.unit == unit && step.text == text
        };
        if let Some(step) = steps.iter_mut().find(is_known) {
            step.count = step.count.max(count);
            continue;
        }
        let begun = match hop {
            Hop::Launch => Some(Hop::Place),
            Hop::Boot => Some(Hop::Launch),
            _ => None,
        };
        let begun = steps.iter().rev().find(|step| Some(step.hop) == begun);
        let took_ms = took_ms.or_else(|| Some(at_ms.saturating_sub(begun?.at_ms)));
        steps.push(Step { at_ms, took_ms, hop, unit, text, failed, count });
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn past(at_ms: u64, hop: Hop, count: u64) -> PastEntry {
        PastEntry { at_ms, entry: TimelineEntry { count, ..TimelineEntry::new(hop, "text") } }
    }

    #[test]
    fn a_launch_takes_as_long_as_since_it_was_placed_and_a_boot_since_the_launch() {
        let life = [Hop::Place, Hop::Launch, Hop::Socket, Hop::Boot, Hop::End];
        let past = (10..).zip(life).map(|(at, hop)| past(at * at, hop, 1)).collect();
        let took: Vec<_> = steps(past).iter().map(|step| step.took_ms).collect();
        assert_eq!(took, [None, Some(21), None, Some(13 * 13 - 11 * 11), None]);
    }

    #[test]
    fn what_was_counted_is_one_step_where_it_came_first() {
        let counted = [1, 2, 4].into_iter().zip([5, 7, 9]);
        let past = counted.map(|(count, at)| past(at, Hop::Refusal, count)).collect();
        let steps = steps(past);
        assert_eq!(steps.iter().map(|step| (step.at_ms, step.count)).collect::<Vec<_>>(), [(5, 4)]);
    }
}
