//! The HTTP skin: who may ask what, and where it is answered.

mod applications;
mod catalogue;
mod certificates;
mod config;
mod events;
mod instances;
mod operations;

use std::any::Any;
use std::time::Instant;

use actix_tls::accept::rustls_0_23::TlsStream;
use actix_web::body::MessageBody;
use actix_web::dev::{Extensions, ServiceRequest, ServiceResponse};
use actix_web::error::QueryPayloadError;
use actix_web::http::Method;
use actix_web::middleware::Next;
use actix_web::rt::net::TcpStream;
use actix_web::{Error, HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::json;
use stream_pki::Fingerprint;
use time::OffsetDateTime;

pub(super) use self::applications::set_published;
use super::envelope::sync;
use super::error::ApiError;
use super::faults::CallFault;
use super::lifecycle::Completion;
use super::operations::{Operation, Resources};
use super::service::{Service, State};

/// What the release that we stand in for can do, as far as we can do it too.
const EXTENSIONS: [&str; 5] = [
    "instance_support",
    "vm_support",
    "zip_archive_support",
    "bulk_delete.applications",
    "bulk_delete.instances",
];

const VERSION: &str = "1.30.1";

pub(super) fn configure(app: &mut web::ServiceConfig) {
    app.route("/", web::get().to(root))
        .route("/1.0", web::get().to(server_info))
        .route("/1.0/version", web::get().to(version))
        .configure(applications::configure)
        .configure(catalogue::configure)
        .configure(certificates::configure)
        .configure(config::configure)
        .configure(events::configure)
        .configure(instances::configure)
        .configure(operations::configure);
}

/// Whom a connection belongs to: the fingerprint of the client certificate, if one was shown.
struct Peer(Fingerprint);

/// Keeps the client certificate of a new connection for the requests that come over it.
pub(super) fn remember_peer(connection: &dyn Any, kept: &mut Extensions) {
    let Some(stream) = connection.downcast_ref::<TlsStream<TcpStream>>() else {
        return;
    };
    let (_, tls) = stream.get_ref();
    if let Some(certificate) = tls.peer_certificates().and_then(<[_]>::first) {
        kept.insert(Peer(Fingerprint::of(certificate)));
    }
}

/// Refuses whoever is not trusted, except where everybody may ask. TLS let the client in with any
/// certificate or none, since what is open to all is behind the same door.
pub(super) async fn guard(
    ams: web::Data<Service>,
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    if ams.read(|state| state.stopped) {
        // Open connections outlive the listener by a moment, and are cut off without an answer.
        std::future::pending::<()>().await;
    }
    let asker = request.request();
    let is_let_in = is_open(request.method(), request.path())
        || is_trusted(asker, &ams)
        || events::is_admitted(asker, &ams);
    if !is_let_in {
        return Err(ApiError::Untrusted.into());
    }
    if request.path() != "/" {
        inject_fault(&ams).await?;
    }
    next.call(request).await
}

/// Has happen to a call what is to.
async fn inject_fault(ams: &Service) -> Result<(), ApiError> {
    let (slow, fault) = ams.change(|state| {
        state.rate_limiter.take(state.settings.max_requests(), Instant::now())?;
        Ok::<_, ApiError>((state.fault_injector.faults.slow, state.fault_injector.call()))
    })?;
    if !slow.is_zero() {
        tokio::time::sleep(slow).await;
    }
    match fault {
        None => Ok(()),
        Some(CallFault::Busy) => Err(ApiError::Busy),
        Some(CallFault::Error) => Err(ApiError::Broken),
        Some(CallFault::Hang) => std::future::pending().await,
        Some(CallFault::Throttled) => Err(ApiError::Throttled),
    }
}

fn is_open(method: &Method, path: &str) -> bool {
    match path {
        "/" | "/1.0" | "/1.0/version" => method == Method::GET,
        // Decided there: a password opens it.
        "/1.0/certificates" => method == Method::POST,
        _ => false,
    }
}

/// Returns an operation that is over as soon as it is opened.
fn finished_operation(
    state: &mut State,
    what: &'static str,
    on: Resources,
) -> Result<Operation, ApiError> {
    let now = OffsetDateTime::now_utc();
    let id = state.operations.open(what, on, false, now).id;
    state.operations.finish(&id, Ok(()), now);
    state.operations.get(&id).cloned()
}

fn is_trusted(request: &HttpRequest, ams: &Service) -> bool {
    let peer = request.conn_data::<Peer>();
    peer.is_some_and(|peer| ams.read(|state| state.trust.contains(&peer.0)))
}

pub(super) fn bad_query(_: QueryPayloadError, _: &HttpRequest) -> Error {
    ApiError::Invalid("query").into()
}

pub(super) async fn not_found() -> Result<HttpResponse, ApiError> {
    Err(ApiError::NotFound("page"))
}

async fn root() -> HttpResponse {
    sync(["/1.0"])
}

async fn server_info(ams: web::Data<Service>, request: HttpRequest) -> HttpResponse {
    let trusted = is_trusted(&request, &ams);
    sync(json!({
        "api_extensions": EXTENSIONS,
        "api_status": "stable",
        "api_version": "1.0",
        "auth": if trusted { "trusted" } else { "untrusted" },
        "auth_methods": ["2waySSL"],
        "auth_permissions": {},
        "cluster_id": ams.cluster_id,
        "cluster_name": ams.cluster_name,
    }))
}

async fn version() -> HttpResponse {
    sync(json!({ "version": VERSION }))
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WaitQuery {
    no_wait: bool,
}

impl WaitQuery {
    fn done(&self) -> Completion {
        if self.no_wait { Completion::Scheduled } else { Completion::Reached }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_tells_nothing_is_open_to_all() {
        assert!(is_open(&Method::GET, "/"));
        assert!(is_open(&Method::GET, "/1.0"));
        assert!(is_open(&Method::GET, "/1.0/version"));
        assert!(is_open(&Method::POST, "/1.0/certificates"));
        for path in ["/1.0/certificates", "/1.0/instances", "/1.0/nodes", "/2.0", "//1.0"] {
            assert!(!is_open(&Method::GET, path), "{path} is open");
        }
        assert!(!is_open(&Method::DELETE, "/1.0"));
    }
}
