//! The endpoints for probes: whether the process is to be restarted, and whether it is to be given
//! clients.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use stream_http::{Dependencies, health};
use stream_protocol::Op;

use crate::auth::{authorize, has_token};
use crate::response::HandlerResult;
use crate::state::State;

/// GET `/1.0/health/live`: succeeds whenever the process answers. NATS is not asked: its absence is
/// no reason to restart the gateway.
pub(crate) async fn live(state: Data<State>) -> HttpResponse {
    health::live(&state.supervisor)
}

/// GET `/1.0/health/ready`: which dependency is away, or whether the gateway drains. Why is told
/// only to a token that may read the status.
pub(crate) async fn ready(request: HttpRequest, state: Data<State>) -> HandlerResult {
    let is_told_why = has_token(&request, &state);
    if is_told_why {
        authorize(&request, &state, Op::StatusRead, None).await?;
    }
    Ok(health::ready(&dependencies(&state).await, is_told_why))
}

/// Returns what was found in the last second; however many probes come, actors are asked once.
pub(crate) async fn dependencies(state: &State) -> Dependencies {
    let look = async {
        let (nats, keys) = tokio::join!(state.bridge.status(), state.tokens.ready());
        let nats = match nats.connected {
            true => Ok(()),
            false => Err(nats.error.unwrap_or_default()),
        };
        let drain = match state.drain.is_draining() {
            true => Err("the gateway is draining".to_owned()),
            false => Ok(()),
        };
        let keys = keys.map_err(|error| error.to_string());
        Dependencies::from([("nats", nats), ("keys", keys), ("drain", drain)])
    };
    state.dependencies.get(look).await
}
