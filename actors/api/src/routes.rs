//! The table of endpoints.

mod ams_sessions;
mod health;
mod metrics;
mod session;
mod signals;
mod sockets;

use actix_web::HttpResponse;
use actix_web::http::Method;
use std::time::Duration;

use actix_web::web::{self, ServiceConfig};
use stream_metrics::HttpMetrics;
use stream_protocol::Op;
use stream_protocol::openapi::{Endpoint, EndpointDoc};
use stream_sessions::Sessions;
use stream_socket::CloseCause;
use stream_supervisor::Supervisor;
use stream_tokens::{Claims, Tokens};
use tokio::sync::watch;

use crate::error::ApiError;
use crate::openapi;
use crate::rate_limit::RateLimiter;

pub(crate) use ams_sessions::{MAX_KEY, MAX_NAME};
pub(crate) use session::{MAX_MESSAGE, MAX_WAIT_S};
pub(crate) use signals::MAX_SIGNALS;

/// Whom the endpoints ask.
#[derive(Clone)]
pub(crate) struct AppState {
    sessions: Sessions,
    tokens: Tokens,
    supervisor: Supervisor,
    requests: HttpMetrics,
    rate_limiter: RateLimiter,
    /// Turns true when the unit stops.
    closing: watch::Receiver<bool>,
}

impl AppState {
    pub(crate) fn new(
        sessions: Sessions,
        tokens: Tokens,
        supervisor: Supervisor,
        requests: HttpMetrics,
        rate_limiter: RateLimiter,
        closing: watch::Receiver<bool>,
    ) -> Self {
        Self { sessions, tokens, supervisor, requests, rate_limiter, closing }
    }

    /// Ends when the unit stops.
    async fn stopped(&self) -> CloseCause {
        let mut closing = self.closing.clone();
        // Without a sender there is no unit any more.
        let _ = closing.wait_for(|closing| *closing).await;
        CloseCause::restarting("the agent is restarting")
    }

    /// Runs a long-poll that may take as long as `wait`; a unit that stops has it answer at once,
    /// so that its client goes on elsewhere. Refuses as soon as the token of `claims` is revoked.
    async fn poll<T, E: Into<ApiError>>(
        &self,
        claims: &Claims,
        wait: Duration,
        poll: impl AsyncFn(Duration) -> Result<T, E>,
    ) -> Result<T, ApiError> {
        tokio::select! {
            biased;
            () = self.tokens.revoked(claims) => Err(ApiError::Unauthorized),
            answer = long_poll(self.closing.clone(), wait, poll) => answer.map_err(Into::into),
        }
    }
}

/// Makes the list of endpoints and what adds them to the server from one table, so that there is no
/// endpoint without an entry, and no entry that says nothing of itself.
macro_rules! endpoints {
    ($($method:ident $path:literal $op:expr => $handler:path: $about:expr,)*) => {
        /// What the API serves, and the operation that a token must allow for it.
        pub(crate) const ENDPOINTS: &[Endpoint] = &[$(Endpoint {
            method: stringify!($method),
            path: $path,
            op: $op,
            about: $about,
        },)*];

        fn add(app: &mut ServiceConfig) {
            $(app.route($path, web::method(Method::$method).to($handler));)*
            // Reached by the methods that are left.
            $(app.service(web::resource($path).default_service(web::to(method_not_allowed)));)*
        }
    };
}

endpoints! {
    GET "/metrics" Some(Op::StatusRead) => metrics::scrape:
        EndpointDoc::new("scrapeMetrics", "Tells Prometheus what is counted").answers_text(),
    GET "/1.0" None => health::version:
        EndpointDoc::new("readVersion", "Tells the version").answers("Version"),
    GET "/1.0/openapi.json" None => openapi::serve:
        EndpointDoc::new("readOpenApi", "Tells what this API is").answers_bare("OpenApi"),
    GET "/1.0/health/live" None => health::live:
        EndpointDoc::new("checkLiveness", "Tells that the process answers").answers("Liveness"),
    GET "/1.0/health/ready" None => health::ready:
        EndpointDoc::new("checkReadiness", "Tells which dependency is away and why")
            .answers("Readiness").refuses(&[503]),
    GET "/1.0/status" Some(Op::StatusRead) => health::status:
        EndpointDoc::new("readStatus", "Shows every actor").answers("UnitStatus"),
    POST "/1.0/sessions" Some(Op::SessionCreate) => ams_sessions::create:
        EndpointDoc::new("openSession", "Opens the session of an instance that AMS launched; once only")
            .takes(openapi::OPENING).body("LaunchedInstance").creates("OpenedSession"),
    GET "/1.0/sessions/{id}" Some(Op::SessionRead) => session::read:
        EndpointDoc::new("readSession", "Shows a session").answers("Session"),
    DELETE "/1.0/sessions/{id}" Some(Op::SessionDelete) => session::end:
        EndpointDoc::new("endSession", "Has a session end; answers before it has"),
    PATCH "/1.0/sessions/{id}" Some(Op::SessionReport) => session::report:
        EndpointDoc::new("reportOnSession", "Takes what an instance says of itself or its client")
            .body("Report"),
    GET "/1.0/sessions/{id}/commands" Some(Op::CommandRead) => session::commands:
        EndpointDoc::new("readCommands", "Tells what the session wants of its instance; may wait")
            .takes(openapi::COMMANDS_POLL).answers("Commands"),
    POST "/1.0/sessions/{id}/signals" Some(Op::SignalWrite) => signals::write:
        EndpointDoc::new("writeSignals", "Keeps signals for the client; again is harmless")
            .body("PostedSignals").answers("Cursors"),
    GET "/1.0/sessions/{id}/signals" Some(Op::SignalRead) => signals::read:
        EndpointDoc::new("readSignals", "Returns signals of the client; may wait for some")
            .takes(openapi::SIGNALS_POLL).answers("SignalPage").refuses(&[409]),
    GET "/1.0/sessions/{id}/sockets/control" Some(Op::CommandRead) => sockets::control:
        EndpointDoc::new("openControlSocket", "Tells commands and takes reports over a WebSocket")
            .takes(openapi::CONTROL).opens_socket(),
    GET "/1.0/sessions/{id}/sockets/master" Some(Op::SignalWrite) => sockets::master:
        EndpointDoc::new("openSignalingSocket", "Carries signals both ways over a WebSocket")
            .takes(openapi::MASTER).opens_socket(),
    POST "/1.0/sessions/{id}/ice-servers" Some(Op::IceMint) => session::ice_servers:
        EndpointDoc::new("mintIceServers", "Mints fresh STUN and TURN servers for the instance")
            .takes(openapi::MINTING).answers("IceServers"),
}

async fn long_poll<T, E>(
    mut closing: watch::Receiver<bool>,
    wait: Duration,
    poll: impl AsyncFn(Duration) -> Result<T, E>,
) -> Result<T, E> {
    tokio::select! {
        answer = poll(wait) => answer,
        _ = closing.wait_for(|closing| *closing) => poll(Duration::ZERO).await,
    }
}

pub(crate) fn configure(app: &mut ServiceConfig, state: &AppState) {
    app.app_data(web::Data::new(state.clone()));
    app.app_data(web::Data::new(state.requests.clone()));
    app.app_data(web::Data::new(state.rate_limiter.clone()));
    app.app_data(web::Data::new(state.sessions.signal_connection()));
    add(app);
}

async fn method_not_allowed() -> Result<HttpResponse, ApiError> {
    Err(ApiError::MethodNotAllowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix::test]
    async fn a_poll_that_waits_is_answered_when_the_unit_stops() {
        let (stop, closing) = watch::channel(false);
        let poll = async |wait: Duration| {
            if !wait.is_zero() {
                std::future::pending::<()>().await;
            }
            Ok::<_, ()>("nothing new")
        };
        let polled = long_poll(closing, Duration::from_secs(60), poll);
        let stops = async {
            stop.send_replace(true);
        };
        let (answer, ()) = tokio::join!(polled, stops);
        assert_eq!(answer, Ok("nothing new"));
    }
}
