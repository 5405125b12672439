//! Around every request: the limit of connections, metrics, and the access log.

use std::time::Instant;

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{HttpRequest, ResponseError};
use stream_metrics::HttpMetrics;

use crate::body::content_length;
use crate::connection_limit::ConnectionPermit;
use crate::error::HttpError;
use crate::openapi::Endpoint;

/// What metrics call a request for something that is not served.
const UNKNOWN_HANDLER: &str = "other";

/// What [`observe`] counts with.
#[derive(Clone)]
pub(crate) struct Observer {
    pub(crate) metrics: HttpMetrics,
    pub(crate) endpoints: &'static [Endpoint],
}

/// Refuses requests on a connection that is one too many; counts and logs all of them.
pub(crate) async fn observe(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let started = Instant::now();
    let observer = request.app_data::<Data<Observer>>().expect("the server adds it").clone();
    let timer = observer.metrics.start();
    let request_size = content_length(request.headers());
    let (method, path) = (request.method().clone(), request.path().to_owned());

    let result = match request.conn_data::<ConnectionPermit>() {
        Some(permit) if !permit.allowed => {
            Ok(request.into_response(HttpError::TooManyConnections.error_response()))
        }
        _ => next.call(request).await.map(ServiceResponse::map_into_boxed_body),
    };

    let (status, response_size, handler) = match &result {
        Ok(response) => {
            let size = body_size(response.response().body());
            (response.status(), size, observer.handler(&method, response.request()))
        }
        Err(error) => (error.as_response_error().status_code(), None, UNKNOWN_HANDLER.to_owned()),
    };
    timer.finish(&handler, method.as_str(), status.as_u16(), (request_size, response_size));
    let (status, took_ms) = (status.as_u16(), started.elapsed().as_millis() as u64);
    // Never the query: it may hold a token.
    log::debug!(method:%, path:%, status, took_ms; "answered");
    result
}

impl Observer {
    /// Names what answers `request` by its endpoint, or by the name of the resource where a service
    /// gave it one. What a client wrote is never part of it.
    fn handler(&self, method: &Method, request: &HttpRequest) -> String {
        let pattern = request.match_pattern();
        let endpoint = pattern.and_then(|pattern| metric_name(self.endpoints, method, &pattern));
        let name = endpoint.or_else(|| match *method {
            Method::GET | Method::HEAD => request.match_name(),
            _ => None,
        });
        name.unwrap_or(UNKNOWN_HANDLER).to_owned()
    }
}

/// Returns what metrics call the endpoint for `method` at the resource with `pattern`.
fn metric_name(
    endpoints: &'static [Endpoint],
    method: &Method,
    pattern: &str,
) -> Option<&'static str> {
    let method = if method == Method::HEAD { "GET" } else { method.as_str() };
    let found = endpoints.iter().find(|endpoint| endpoint.serves(method, pattern));
    found.map(|endpoint| endpoint.metric)
}

/// Returns the length of a response's body in bytes, where it is known beforehand.
fn body_size(body: &impl MessageBody) -> Option<u64> {
    match body.size() {
        BodySize::None => Some(0),
        BodySize::Sized(bytes) => Some(bytes),
        BodySize::Stream => None,
    }
}
