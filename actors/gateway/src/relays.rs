//! The endpoint at `/1.0/relays`: how the relays answer the agents.

use std::sync::Arc;

use actix_web::HttpRequest;
use actix_web::web::Data;
use stream_protocol::{Op, Refusal};
use stream_supervisor::spawn_detached;

use crate::auth::authorize;
use crate::relay_view::{self, RelayView};
use crate::response::{HandlerResult, ok};
use crate::state::State;

/// GET `/1.0/relays`: the relays that agents hand out, the worst first. However many ask, each
/// agent tries its relays once in ten seconds.
pub(crate) async fn list(request: HttpRequest, state: Data<State>) -> HandlerResult {
    authorize(&request, &state, Op::RelayRead, None).await?;
    Ok(ok(&*latest(&state).await?))
}

/// Returns the relays as they were at most ten seconds ago; `None` while the agents try them, which
/// takes some seconds when one is away.
pub(crate) fn peek(state: &Data<State>) -> Option<Arc<Vec<RelayView>>> {
    state.relay_views.peek(|| {
        let state = state.clone();
        spawn_detached("a look at the relays", async move {
            // While NATS is away nothing is known to have changed.
            let _ = latest(&state).await;
        });
    })
}

async fn latest(state: &State) -> Result<Arc<Vec<RelayView>>, Refusal> {
    state.relay_views.get(|| relay_view::ask_all(&state.bridge)).await
}
