//! The client's signaling socket: who may open it, and its upgrade.

mod admission;
mod client_socket;

use actix_web::web::{Data, Path, Payload, Query};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use stream_bridge::SignalConnection;
use stream_protocol::{
    Client, Direction, OnConflict, Op, Refusal, RefusalCode, SessionId, TokenKind,
};
use stream_socket::{FrameFormat, SignalRelay};
use stream_supervisor::spawn_detached;

use crate::error::bad_request;
use crate::query::flag;
use crate::response::{HandlerResult, HttpError};
use crate::session_documents;
use crate::state::State;

use admission::close_cause;
use client_socket::ClientSocket;

#[derive(Deserialize)]
struct SocketQuery {
    token: String,
    /// The last renewal of ICE servers that the client has heard of; without it, the present one.
    ice_renewal: Option<u64>,
    /// With it, signals come in envelopes, from this cursor on or, when it is empty, from the
    /// beginning.
    after: Option<String>,
    /// Whether the client wants reconnect tokens, with which it can open the socket again.
    tickets: Option<String>,
}

/// GET `/1.0/sessions/{id}/sockets/slave`: relays signals between the client and the instance.
///
/// A token that is no good is refused before the upgrade; so are all of a session that has ended.
/// That a client was replaced, and that a session is ending, is told in an `error` message: a
/// browser shows nothing else to the page. A gateway that drains refuses who was at another one
/// before and can go on there.
pub(crate) async fn open(
    request: HttpRequest,
    id: Path<String>,
    payload: Payload,
    state: Data<State>,
    signal_connection: Data<SignalConnection>,
) -> HandlerResult {
    let parsed = Query::<SocketQuery>::from_query(request.query_string());
    let query = parsed.map_err(|_| HttpError::Unauthorized)?.into_inner();
    let session = id.parse::<SessionId>().map_err(|_| HttpError::Unauthorized)?;
    let claims = state.tokens.verify(&query.token, Op::SignalWrite, Some(&session)).await?;
    let generation = match claims.restrictions.generation {
        Some(generation) if claims.kind == TokenKind::Socket => generation,
        _ => return Err(HttpError::Unauthorized),
    };

    let reconnect_tokens =
        flag("tickets", query.tickets.as_deref())?.then_some(state.reconnect_tokens);
    // A socket's subject is its account, or the share that its client came through.
    let share = claims.subject.parse().ok();
    let document = session_documents::read(&state.bridge, &session).await?.value;
    let close_cause = close_cause(Some(&document), generation);
    // A socket's token always has a role.
    let role = claims.restrictions.role.ok_or(HttpError::Unauthorized)?;
    let screen = document.request.screen;
    let client = document.desired.client.unwrap_or(Client { screen, role });
    let ice_renewal = query.ice_renewal.unwrap_or(document.ice_renewal);
    let frames = FrameFormat::from_query(query.after.as_deref())
        .map_err(|_| bad_request("after is a cursor, or empty"))?;
    if state.drain.is_draining() && matches!(frames, FrameFormat::Enveloped { after: Some(_) }) {
        // It would be sent away in a moment.
        return Err(Refusal::new(RefusalCode::Draining, "the gateway is draining").into());
    }
    let (response, sender, receiver) = stream_socket::open(&request, payload)
        .map_err(|_| bad_request("this path is for WebSocket connections"))?;

    let signal_relay = SignalRelay {
        signal_connection: SignalConnection::clone(&signal_connection),
        session,
        direction: Direction::ToInstance,
        frames,
        generation,
        own_generation_only: true,
    };
    let socket = ClientSocket {
        bridge: state.bridge.clone(),
        signal_relay,
        ice_renewal,
        reconnect_tokens,
        share,
        tokens: state.tokens.clone(),
        claims,
        closing: state.closing.clone(),
        drain: state.drain.clone(),
        keeps_lease: document.request.on_conflict == OnConflict::Reject,
        client,
    };
    let (guard, grace) = (state.open_sockets.open(), state.client_grace);
    spawn_detached("a client socket", async move {
        let has_left = socket.run(sender, receiver, close_cause).await;
        drop(guard);
        if has_left {
            socket.report_departure(grace).await;
        }
    });
    Ok::<HttpResponse, HttpError>(response)
}
