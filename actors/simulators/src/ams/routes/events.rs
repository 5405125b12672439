//! The socket of [events](stream_protocol::manual::wire#operations-and-events).

use std::time::Duration;

use actix_web::web::{Data, Payload, Query};
use actix_web::{Error, HttpRequest, HttpResponse, web};
use futures_util::StreamExt;
use serde::Deserialize;
use tokio::sync::broadcast::error::RecvError;

use super::super::error::ApiError;
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
}

/// Browsers would take one, since they cannot show a certificate.
async fn token() -> Result<HttpResponse, ApiError> {
    Err(ApiError::NotSupported("listening with a token"))
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
