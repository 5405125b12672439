//! The table of endpoints.

pub(crate) mod ams_sessions;
mod health;
mod metrics;
pub(crate) mod session;
pub(crate) mod signals;
mod sockets;

use actix_web::web::{Data, ServiceConfig};
use stream_http::endpoints;
#[cfg(test)]
use stream_http::health::{Liveness, Readiness};
#[cfg(test)]
use stream_http::openapi::EndpointDoc;
use stream_http::openapi::{self, Document};
use stream_protocol::Op;
#[cfg(test)]
use stream_protocol::{Commands, Cursor, IceServer, SignalPage};

use crate::state::AppState;

/// The document at `/1.0/openapi.json`, which the test `openapi` keeps true.
const DOCUMENT: Document = Document::new(include_bytes!("../openapi.json"));

/// The bound of an ordinary body, in bytes.
const MAX_SMALL_BODY: usize = 16 * 1024;

endpoints! {
    GET "/metrics" Some(Op::StatusRead) => metrics::scrape:
        EndpointDoc::new("scrapeMetrics", "Tells Prometheus what is counted").answers_text(),
    GET "/1.0" None => health::version:
        EndpointDoc::new("readVersion", "Tells the version").answers::<health::Version>(),
    GET "/1.0/openapi.json" None => openapi::serve:
        EndpointDoc::new("readOpenApi", "Tells what this API is").answers_document(),
    GET "/1.0/health/live" None => health::live:
        EndpointDoc::new("checkLiveness", "Tells that the process answers").answers::<Liveness>(),
    GET "/1.0/health/ready" Some(Op::StatusRead) => health::ready:
        EndpointDoc::new("checkReadiness", "Tells which dependency is away; with a token, why")
            .more_with_token().answers::<Readiness>().refuses(&[503]),
    GET "/1.0/status" Some(Op::StatusRead) => health::status:
        EndpointDoc::new("readStatus", "Shows every actor").answers::<health::UnitStatus>(),
    POST "/1.0/sessions" Some(Op::SessionCreate) => ams_sessions::create:
        EndpointDoc::new("openSession", "Opens the session of an instance that AMS launched; once only")
            .idempotency_key("One instance has one session, with or without a key")
            .body::<ams_sessions::LaunchedInstance>().creates::<ams_sessions::OpenedSession<'_>>(),
    GET "/1.0/sessions/{id}" Some(Op::SessionRead) => session::read:
        EndpointDoc::new("readSession", "Shows a session").answers::<session::SessionView<'_>>(),
    DELETE "/1.0/sessions/{id}" Some(Op::SessionDelete) => session::end:
        EndpointDoc::new("endSession", "Has a session end; answers before it has"),
    PATCH "/1.0/sessions/{id}" Some(Op::SessionReport) => session::report:
        EndpointDoc::new("reportOnSession", "Takes what an instance says of itself or its client")
            .body::<session::Reported>(),
    GET "/1.0/sessions/{id}/commands" Some(Op::CommandRead) => session::commands:
        EndpointDoc::new("readCommands", "Tells what the session wants of its instance; may wait")
            .query::<session::CommandsPollQuery>().answers::<Commands>(),
    POST "/1.0/sessions/{id}/signals" Some(Op::SignalWrite) => signals::write:
        EndpointDoc::new("writeSignals", "Keeps signals for a peer; again is harmless")
            .query::<signals::PeerQuery>().body::<signals::PostedSignals>().answers::<signals::Cursors>(),
    GET "/1.0/sessions/{id}/signals" Some(Op::SignalRead) => signals::read:
        EndpointDoc::new("readSignals", "Returns signals of a peer; may wait for some")
            .query::<session::PollQuery<Cursor>>().answers::<SignalPage>().refuses(&[409]),
    GET without HEAD "/1.0/sessions/{id}/sockets/control" Some(Op::CommandRead) => sockets::control:
        EndpointDoc::new("openControlSocket", "Tells commands and takes reports over a WebSocket")
            .query::<sockets::CommandsQuery>().opens_socket(),
    GET without HEAD "/1.0/session/{id}/sockets/control" Some(Op::CommandRead) => sockets::control
        as "/1.0/sessions/{id}/sockets/control":
        EndpointDoc::new("openControlSocketByOldPath", "The same by the name of older releases")
            .query::<sockets::CommandsQuery>().opens_socket(),
    GET without HEAD "/1.0/sessions/{id}/sockets/master" Some(Op::SignalWrite) => sockets::master:
        EndpointDoc::new("openSignalingSocket", "Carries signals both ways over a WebSocket")
            .query::<sockets::ResumeQuery>().opens_socket(),
    GET without HEAD "/1.0/session/{id}/sockets/master" Some(Op::SignalWrite) => sockets::master
        as "/1.0/sessions/{id}/sockets/master":
        EndpointDoc::new("openSignalingSocketByOldPath", "The same by the name of older releases")
            .query::<sockets::ResumeQuery>().opens_socket(),
    POST "/1.0/sessions/{id}/ice-servers" Some(Op::IceMint) => session::ice_servers:
        EndpointDoc::new("mintIceServers", "Mints fresh STUN and TURN servers for the instance")
            .query::<session::IceQuery>().answers::<Vec<IceServer>>(),
}

/// Adds all endpoints and what their handlers share.
pub(crate) fn configure(app: &mut ServiceConfig, state: &AppState) {
    app.app_data(Data::new(state.clone()));
    app.app_data(Data::new(DOCUMENT));
    app.app_data(Data::new(state.sessions.signal_connection()));
    add_endpoints(app);
}
