//! The endpoint at `/1.0/events`: sessions, shares, agents and relays as they change.
//!
//! Each event has the whole present row, so that one that is told twice, or late, does no harm.
//! What changes while nobody reads is kept as names alone, up to a bound.

mod event_id;
mod event_stream;

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use futures_util::stream;
use stream_http::HttpError;
use stream_protocol::Op;

use crate::auth::authorize;
use crate::response::HandlerResult;
use crate::state::State;
use event_stream::EventStream;

/// What the browser's reader of events sends when it comes back.
const LAST_EVENT_ID: &str = "Last-Event-ID";

/// GET `/1.0/events`: goes on until the client leaves, the token ends or the gateway stops.
pub(crate) async fn open(request: HttpRequest, state: Data<State>) -> HandlerResult {
    let caller = authorize(&request, &state, Op::EventRead, None).await?;
    let Some(place) = state.event_streams.enter(&caller.claims.id) else {
        state.refusals.note_request("event_streams", None);
        return Err(HttpError::RateLimited);
    };
    let last =
        request.headers().get(LAST_EVENT_ID).and_then(|last| last.to_str().ok()?.parse().ok());
    let stream = EventStream::open(state, caller, place, last).await?;
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "text/event-stream"))
        // Who keeps or compresses it on the way would hold events back.
        .insert_header((CACHE_CONTROL, "no-store, no-transform"))
        .insert_header(("X-Accel-Buffering", "no"))
        .streaming(stream::unfold(stream, EventStream::next)))
}
