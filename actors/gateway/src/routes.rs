//! The table of what is served, and what all of it has in common.

use std::time::Instant;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{
    ACCESS_CONTROL_REQUEST_METHOD, HeaderValue, ORIGIN, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use actix_web::http::{ConnectionType, StatusCode};
use actix_web::middleware::Next;
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{Error, HttpResponse};
use stream_protocol::openapi::{Endpoint, EndpointDoc};
use stream_protocol::{Failure, Op, Refusal, RefusalCode};

use crate::response::HandlerResult;
use crate::state::State;
use crate::{catalog, metrics, openapi, sessions, shares, socket, web_ui};

/// Makes the list of endpoints and what adds them to the server from one table, so that there is no
/// endpoint without an entry, and no entry that says nothing of itself.
macro_rules! endpoints {
    ($($method:ident $path:literal $op:expr => $handler:path: $about:expr,)*) => {
        /// What the API serves, and the operation that a token must allow for it. The page is open.
        pub(crate) const ENDPOINTS: &[Endpoint] = &[$(Endpoint {
            method: stringify!($method),
            path: $path,
            op: $op,
            about: $about,
        },)*];

        fn add(service: &mut ServiceConfig) {
            $(service.route($path, web::method(Method::$method).to($handler));)*
            // Reached by the methods that are left.
            $(service.service(web::resource($path).default_service(web::to(wrong_method)));)*
        }
    };
}

endpoints! {
    GET "/metrics" Some(Op::StatusRead) => metrics::scrape:
        EndpointDoc::new("scrapeMetrics", "Tells Prometheus what is counted").answers_text(),
    GET "/1.0/openapi.json" None => openapi::serve:
        EndpointDoc::new("readOpenApi", "Tells what this API is").answers_bare("OpenApi"),
    GET "/1.0/applications" Some(Op::ApplicationRead) => catalog::applications:
        EndpointDoc::new("listApplications", "Lists what can be streamed").answers("Names"),
    GET "/1.0/regions" Some(Op::RegionRead) => catalog::regions:
        EndpointDoc::new("listRegions", "Lists where there are agents").answers("Names"),
    GET "/1.0/status" Some(Op::StatusRead) => catalog::status:
        EndpointDoc::new("readStatus", "Tells whether the service is healthy; with a token, more")
            .more_with_token().answers("ServiceStatus"),
    GET "/1.0/sessions" Some(Op::SessionRead) => sessions::endpoints::list_sessions:
        EndpointDoc::new("listSessions", "Lists sessions").takes(openapi::LISTING).answers("Sessions"),
    POST "/1.0/sessions" Some(Op::SessionCreate) => sessions::endpoints::create_session:
        EndpointDoc::new("createSession", "Has an instance launched; answers before it has booted")
            .takes(openapi::CREATION).body("SessionPost").creates("CreatedSession").refuses(&[404]),
    GET "/1.0/sessions/{id}" Some(Op::SessionRead) => sessions::endpoints::read_session:
        EndpointDoc::new("readSession", "Shows a session").answers("Session"),
    DELETE "/1.0/sessions/{id}" Some(Op::SessionDelete) => sessions::endpoints::delete_session:
        EndpointDoc::new("deleteSession", "Has a session end").takes(openapi::DELETION),
    POST "/1.0/sessions/{id}/join" Some(Op::SessionJoin) => sessions::endpoints::join_session:
        EndpointDoc::new("joinSession", "Makes the caller the client, instead of whoever was it")
            .optional_body("SessionJoin").answers("JoinedSession"),
    POST "/1.0/sessions/{id}/share" Some(Op::ShareCreate) => shares::endpoints::create:
        EndpointDoc::new("shareSession", "Makes a link that lets whoever has it join")
            .body("SharePost").answers("Share"),
    GET "/1.0/sessions/{id}/connect" Some(Op::SessionJoin) => shares::endpoints::connect:
        EndpointDoc::new("connectToSession", "Joins with the token of a share")
            .token_in_query().takes(openapi::CONNECTING).answers("JoinedSession"),
    GET "/1.0/session/{id}/connect" Some(Op::SessionJoin) => shares::endpoints::connect:
        EndpointDoc::new("connectToSessionByOldPath", "The same by the name of older releases")
            .token_in_query().takes(openapi::CONNECTING).answers("JoinedSession"),
    GET "/1.0/sessions/{id}/sockets/slave" Some(Op::SignalWrite) => socket::open:
        EndpointDoc::new("openSocket", "Relays signals between client and instance")
            .token_in_query().takes(openapi::OPENING).opens_socket(),
    GET "/1.0/session/{id}/sockets/slave" Some(Op::SignalWrite) => socket::open:
        EndpointDoc::new("openSocketByOldPath", "The same by the name of older releases")
            .token_in_query().takes(openapi::OPENING).opens_socket(),
    GET "/1.0/shares" Some(Op::ShareRead) => shares::endpoints::list:
        EndpointDoc::new("listShares", "Lists the shares of live sessions")
            .takes(openapi::SHARES).answers("Shares"),
    GET "/1.0/shares/{id}" Some(Op::ShareRead) => shares::endpoints::read:
        EndpointDoc::new("readShare", "Shows a share with its link").answers("Share"),
    PATCH "/1.0/shares/{id}" Some(Op::ShareUpdate) => shares::endpoints::change:
        EndpointDoc::new("changeShare", "Changes a share; its link stays the same")
            .body("SharePatch").answers("Share"),
    DELETE "/1.0/shares/{id}" Some(Op::ShareDelete) => shares::endpoints::delete:
        EndpointDoc::new("deleteShare", "Ends a share and cuts off whoever came through it")
            .takes(openapi::SHARE_DELETION),
}

/// Adds all routes.
pub(crate) fn configure(service: &mut ServiceConfig) {
    add(service);
    service.configure(web_ui::configure).default_service(web::to(unknown));
}

async fn unknown() -> HandlerResult {
    Err(Refusal::new(RefusalCode::NotFound, "there is nothing at this path").into())
}

async fn wrong_method() -> HttpResponse {
    HttpResponse::MethodNotAllowed().json(Failure::new(405, "this path does not take the method"))
}

/// Around every request: answers preflights, marks answers for browsers, counts, writes the access
/// log.
pub(crate) async fn observe(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let started = Instant::now();
    let state = request.app_data::<Data<State>>().expect("the server adds its state").clone();
    let counted = state.requests.start();
    let request_size = metrics::length(&request);
    let origin = request.headers().get(ORIGIN).cloned();
    let (method, path) = (request.method().clone(), request.path().to_owned());

    let preflight =
        method == Method::OPTIONS && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = if preflight {
        let mut response = request.into_response(HttpResponse::NoContent().finish());
        state.cors.apply_preflight(origin.as_ref(), response.headers_mut());
        response
    } else {
        let mut response = next.call(request).await?.map_into_boxed_body();
        state.cors.apply(origin.as_ref(), response.headers_mut());
        response
    };

    if state.drain.is_draining() && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        // The next request goes elsewhere.
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    let handler = metrics::handler(&method, response.request().match_pattern().as_deref());
    let sizes = (request_size, metrics::size(response.response().body()));
    counted.finish(handler, method.as_str(), response.status().as_u16(), sizes);
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    // Never the query: it may hold a token.
    let (status, took) = (response.status().as_u16(), started.elapsed().as_millis());
    log::debug!("{method} {path} {status} in {took} ms");
    Ok(response)
}
