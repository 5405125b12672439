//! The client's signaling socket: who may open it, and its upgrade.

mod allowance;
mod end;
mod relay;

use actix_web::web::{Data, Path, Payload, Query};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use stream_protocol::{MAX_SIGNAL_BYTES, Op, SessionId, TokenKind};
use stream_supervisor::detached;

use crate::answer::{Answer, Refused, malformed};
use crate::documents;
use crate::state::State;

use end::verdict;
use relay::Relay;

#[derive(Deserialize)]
struct Opening {
    token: String,
    /// The last renewal of ICE servers that the client has heard of; without it, the present one.
    ice_renewal: Option<u64>,
}

/// GET `/1.0/sessions/{id}/sockets/slave`: relays signals between the client and the instance.
///
/// A token that is no good is refused before the upgrade. One of a client that was replaced, and a
/// session that is over, are told in an `error` message: a browser shows nothing else to the page.
pub(crate) async fn open(
    request: HttpRequest,
    id: Path<String>,
    payload: Payload,
    state: Data<State>,
) -> Answer {
    let query = Query::<Opening>::from_query(request.query_string());
    let Opening { token, ice_renewal } = query.map_err(|_| Refused::Unauthorized)?.into_inner();
    let session = id.parse::<SessionId>().map_err(|_| Refused::Unauthorized)?;
    let claims = state.tokens.verify(&token, Op::SignalWrite, Some(&session)).await?;
    let generation = match claims.generation {
        Some(generation) if claims.kind == TokenKind::Socket => generation,
        _ => return Err(Refused::Unauthorized),
    };

    let document = documents::read(&state.bridge, &session).await?.value;
    let verdict = verdict(Some(&document), generation);
    let ice_renewal = ice_renewal.unwrap_or(document.ice_renewal);
    let (response, socket, messages) = actix_ws::handle(&request, payload)
        .map_err(|_| malformed("this path is for WebSocket connections"))?;
    let messages = messages.max_frame_size(MAX_SIGNAL_BYTES).aggregate_continuations();
    let messages = messages.max_continuation_size(MAX_SIGNAL_BYTES);

    let (bridge, closing) = (state.bridge.clone(), state.closing.clone());
    let tokens = state.tokens.clone();
    let relay = Relay { bridge, session, generation, ice_renewal, tokens, claims, closing };
    detached("a client socket", relay.run(socket, messages, verdict));
    Ok::<HttpResponse, Refused>(response)
}
