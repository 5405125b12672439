//! The socket of [events](stream_protocol::manual::wire#operations-and-events).

use std::time::{Duration, Instant};

use actix_web::http::Method;
use actix_web::web::{Data, Payload, Query};
use actix_web::{Error, HttpRequest, HttpResponse, web};
use futures_util::StreamExt;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;

use super::super::envelope::sync;
use super::super::events;
use super::super::service::Service;

/// How often a listener that says nothing is asked whether it is there.
const PING_EVERY: Duration = Duration::from_secs(15);

pub(super) fn configure(app: &mut web::ServiceConfig) {
    app.route("/1.0/events", web::get().to(listen))
        .route("/1.0/events/auth", web::post().to(token));
}

#[derive(Deserialize)]
struct EventsQuery {
    #[serde(rename = "type", default)]
    types: String,
    #[serde(default)]
    token: String,
}

/// Browsers take one, since they cannot show a certificate at will.
async fn token(ams: Data<Service>) -> HttpResponse {
    let token = ams.change(|state| state.listener_tokens.issue(Instant::now()));
    sync(json!({ "token": token }))
}

/// Whether a token admits a listener who is not trusted. Nothing public says where a real AMS takes
/// it; the query is where a WebSocket of a browser can have one.
pub(super) fn is_admitted(request: &HttpRequest, ams: &Service) -> bool {
    let query = Query::<EventsQuery>::from_query(request.query_string());
    request.method() == Method::GET
        && request.path() == "/1.0/events"
        && query.is_ok_and(|query| {
            ams.read(|state| state.listener_tokens.admit(&query.token, Instant::now()))
        })
}

#[expect(clippy::disallowed_methods, reason = "a simulator has no supervisor")]
async fn listen(
    ams: Data<Service>,
    request: HttpRequest,
    wanted: Query<EventsQuery>,
    payload: Payload,
) -> Result<HttpResponse, Error> {
    let mut heard = ams.events.subscribe();
    let (response, mut socket, mut messages) = actix_ws::handle(&request, payload)?;
    let ended = ams.ended();
    actix_web::rt::spawn(async move {
        let mut pings = tokio::time::interval(PING_EVERY);
        tokio::pin!(ended);
        // One writer, this task.
        loop {
            let sent = tokio::select! {
                event = heard.recv() => match event {
                    Ok(event) if events::wants(&wanted.types, &event) => {
                        socket.text(event.text.to_string()).await
                    }
                    // A listener that cannot keep up misses events, as it may anyway.
                    Ok(_) | Err(RecvError::Lagged(_)) => Ok(()),
                    Err(RecvError::Closed) => break,
                },
                _ = pings.tick() => socket.ping(b"").await,
                message = messages.next() => match message {
                    Some(Ok(actix_ws::Message::Ping(bytes))) => socket.pong(&bytes).await,
                    Some(Ok(actix_ws::Message::Close(_)) | Err(_)) | None => break,
                    Some(Ok(_)) => Ok(()),
                },
                () = &mut ended => break,
            };
            if sent.is_err() {
                return;
            }
        }
        let _ = socket.close(None).await;
    });
    Ok(response)
}
