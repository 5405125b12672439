//! The signaling sockets of clients and of users of ADB: who may open them, and their upgrade.

mod admission;
mod client_socket;
mod first_frame;
mod messages;

use actix_web::HttpRequest;
use actix_web::web::{Data, Path, Payload, Query};
use stream_bridge::SignalConnection;
use stream_http::note_token;
use stream_protocol::{Op, Refusal, RefusalCode, Role, SessionId};

use crate::error::bad_request;
use crate::response::{HandlerResult, HttpError, token_error};
use crate::session_documents;
use crate::state::State;

pub(crate) use admission::SocketQuery;
use admission::{Admission, SocketToken};
use client_socket::ClientSocket;

/// GET `/1.0/sessions/{id}/sockets/master`: refuses whoever comes. In releases of old this was the
/// instance's socket; the agent serves it now, at the address in the instance's userdata.
pub(crate) async fn refuse_instance() -> HandlerResult {
    Err(HttpError::forbidden("instances connect to their agent"))
}

/// GET `/1.0/sessions/{id}/sockets/slave`: relays signals between the client and the instance.
///
/// The gateway refuses a bad token, and a session that does not exist, before the upgrade. A client
/// that was replaced and one whose session is ending are told in an `error` message after it: a
/// browser shows nothing else to the page. A draining gateway refuses a client that comes back with
/// a cursor, since another gateway can serve it.
pub(crate) async fn open(
    request: HttpRequest,
    id: Path<String>,
    payload: Payload,
    state: Data<State>,
    signal_connection: Data<SignalConnection>,
) -> HandlerResult {
    upgrade(&request, &id, payload, state, &signal_connection, |role| role != Role::Adb).await
}

/// GET `/1.0/sessions/{id}/sockets/adb`: relays signals between the instance and who came through a
/// share of its ADB. Refuses as [`open`] does; the newest socket of a connection ends the one
/// before.
pub(crate) async fn open_adb(
    request: HttpRequest,
    id: Path<String>,
    payload: Payload,
    state: Data<State>,
    signal_connection: Data<SignalConnection>,
) -> HandlerResult {
    upgrade(&request, &id, payload, state, &signal_connection, |role| role == Role::Adb).await
}

/// Opens the socket that `request` asks for, with a token of a role that it `is_for`.
async fn upgrade(
    request: &HttpRequest,
    id: &str,
    payload: Payload,
    state: Data<State>,
    signal_connection: &SignalConnection,
    is_for: fn(Role) -> bool,
) -> HandlerResult {
    let query = Query::<SocketQuery>::from_query(request.query_string());
    let query = query.map_err(|_| HttpError::Unauthorized)?.into_inner();
    let session = id.parse::<SessionId>().map_err(|_| HttpError::Unauthorized)?;
    let verified = state.tokens.verify(&query.token, Op::SignalWrite, Some(&session)).await;
    let claims = match verified {
        Ok(claims) => claims,
        Err(error) => {
            let parts = (&state.views, &state.tokens);
            state.turned_away.note_token(parts, &session, (&query.token, &error)).await;
            return Err(token_error(error));
        }
    };
    note_token(request, &claims.id);
    let token = SocketToken::of(&claims).ok_or(HttpError::Unauthorized)?;
    if !is_for(token.role) {
        return Err(HttpError::token_forbids());
    }

    let document = session_documents::read(&state.bridge, &session).await?.value;
    let admission = Admission::check(&query, token, &document)?;
    if state.drain.is_draining() && admission.can_resume_elsewhere() {
        return Err(Refusal::new(RefusalCode::Draining, "the gateway is draining").into());
    }
    let (response, sender, receiver) = stream_socket::open(request, payload)
        .map_err(|_| bad_request("this path is for WebSocket connections"))?;

    ClientSocket::new(admission, claims, signal_connection.clone(), state).start(sender, receiver);
    Ok(response)
}
