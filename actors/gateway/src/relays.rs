//! The endpoint at `/1.0/relays`: how the relays answer the agents.

use actix_web::HttpRequest;
use actix_web::web::Data;
use stream_protocol::Op;

use crate::auth::authorize;
use crate::relay_view;
use crate::response::{HandlerResult, ok};
use crate::state::State;

/// GET `/1.0/relays`: the relays that agents hand out, the worst first. However many ask, each
/// agent tries its relays once in ten seconds.
pub(crate) async fn list(request: HttpRequest, state: Data<State>) -> HandlerResult {
    authorize(&request, &state, Op::RelayRead, None).await?;
    Ok(ok(&*state.relay_views.get(|| relay_view::ask_all(&state.bridge)).await?))
}
