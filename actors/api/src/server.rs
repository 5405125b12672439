//! One server on a listening socket: what each connection may cost, and how long it may take.

use std::convert::Infallible;
use std::io;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use actix_tls::accept::rustls_0_23::TlsStream;
use actix_web::body::MessageBody;
use actix_web::dev::{Server, ServiceRequest, ServiceResponse};
use actix_web::middleware::{Next, NormalizePath, from_fn};
use actix_web::rt::net::TcpStream;
use actix_web::web::ServiceConfig;
use actix_web::{App, HttpResponse, HttpServer, web};
use rustls::{HandshakeKind, ServerConfig};
use stream_metrics::HttpMetrics;
use tokio::sync::oneshot;

use crate::connection_limit::{ConnectionLimiter, ConnectionPermit};
use crate::error::ApiError;

/// Longer than any long-poll, so that instances keep their connection between two.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// The time for a TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// The time for the headers of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Connections per worker; more wait to be accepted.
const MAX_CONNECTIONS: usize = 10_000;

/// Handshakes per worker at the same time: each is a private-key operation.
const MAX_HANDSHAKES: usize = 256;

/// What requests under way get when the server stops, in seconds.
const SHUTDOWN_TIMEOUT_S: u64 = 5;

/// From the last connection a retiring server accepts until it stops.
const HANDOVER: Duration = Duration::from_secs(1);

/// Builds a server that serves `routes` over TLS; it runs when polled.
pub(crate) fn build(
    listener: TcpListener,
    tls: ServerConfig,
    workers: usize,
    connections: ConnectionLimiter,
    requests: HttpMetrics,
    routes: impl Fn(&mut ServiceConfig) + Clone + Send + 'static,
) -> io::Result<Server> {
    let app = move || {
        App::new()
            .wrap(NormalizePath::trim())
            .wrap(from_fn(observe))
            .configure(&routes)
            .default_service(web::to(not_found))
    };
    let server = HttpServer::new(app)
        .workers(workers)
        .on_connect(move |connection, data| {
            let Some(stream) = connection.downcast_ref::<TlsStream<TcpStream>>() else { return };
            let (stream, tls) = stream.get_ref();
            requests.handshake(tls.handshake_kind() == Some(HandshakeKind::Resumed));
            if let Ok(peer) = stream.peer_addr() {
                data.insert(connections.register(peer.ip()));
            }
        })
        .disable_signals()
        .tls_handshake_timeout(HANDSHAKE_TIMEOUT)
        .client_request_timeout(HEADER_TIMEOUT)
        .keep_alive(KEEP_ALIVE)
        .max_connections(MAX_CONNECTIONS)
        .max_connection_rate(MAX_HANDSHAKES)
        .shutdown_timeout(SHUTDOWN_TIMEOUT_S)
        // Signals are small and one follows the other: none waits until the last is acknowledged.
        .tcp_nodelay(true)
        // A client that hung up waits for nothing any more.
        .h1_allow_half_closed(false)
        .listen_rustls_0_23(listener, tls)?;
    Ok(server.run())
}

/// Runs `server` until it ends; when `retire` is let go, it retires: it takes no more connections,
/// finishes what it has begun, and ends.
pub(crate) async fn run(server: Server, retire: oneshot::Receiver<Infallible>) -> io::Result<()> {
    let handle = server.handle();
    let mut server = std::pin::pin!(server);
    tokio::select! {
        result = &mut server => return result,
        _ = retire => {}
    }
    let retire = async {
        handle.pause().await;
        // A stop drops the connections that no worker has picked up yet.
        tokio::time::sleep(HANDOVER).await;
        handle.stop(true).await;
    };
    tokio::join!(server, retire).0
}

async fn not_found() -> Result<HttpResponse, ApiError> {
    Err(ApiError::NoSuchEndpoint)
}

/// Counts each request when it is answered, and logs it. Never the query, which may hold a token.
async fn observe(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let counted = request.app_data::<web::Data<HttpMetrics>>().map(|requests| requests.start());
    let (method, path) = (request.method().clone(), request.path().to_owned());
    let begun = Instant::now();
    let answer = match request.conn_data::<ConnectionPermit>() {
        Some(ConnectionPermit { allowed: false, .. }) => Err(ApiError::TooManyConnections.into()),
        _ => next.call(request).await,
    };
    let (status, handler) = match &answer {
        Ok(response) => (response.status(), response.request().match_pattern()),
        Err(error) => (error.as_response_error().status_code(), None),
    };
    if let Some(counted) = counted {
        // The pattern of the resource: what stands in its places is never told.
        let handler = handler.as_deref().unwrap_or("none");
        counted.finish(handler, method.as_str(), status.as_u16(), (None, None));
    }
    log::debug!(
        "{method} {path} answered with {} in {} ms",
        status.as_u16(),
        begun.elapsed().as_millis()
    );
    answer
}
