//! Around every request: its id, its deadlines, metrics, and the access log.

use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{
    CONTENT_SECURITY_POLICY, HOST, HeaderMap, HeaderName, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use actix_web::http::uri::Authority;
use actix_web::http::{ConnectionType, StatusCode};
use actix_web::middleware::Next;
use actix_web::web::{Bytes, Data};
use actix_web::{HttpMessage, ResponseError};
use stream_metrics::HttpMetrics;
use stream_supervisor::{Drain, RequestId};

use crate::access_log::AccessLine;
use crate::activity::{Activity, RequestInHand};
use crate::admission::host;
use crate::body::content_length;
use crate::client_address;
use crate::error::HttpError;
use crate::limits::HttpConfig;
use crate::rate_limit::RateLimiter;
use crate::refusals::Refusals;
use crate::route;

/// What metrics call a request for something that is not served.
const UNKNOWN_HANDLER: &str = "other";

/// What metrics call a host that is not the service's: clients may send any word.
const UNKNOWN_HOST: &str = "other";

/// What [`observe`] counts with.
#[derive(Clone)]
pub(crate) struct Observer {
    pub(crate) metrics: HttpMetrics,
    /// The name that clients know the service by.
    pub(crate) host: String,
    /// Whom to believe about clients.
    pub(crate) http: HttpConfig,
    /// Of each address.
    pub(crate) rates: RateLimiter<IpAddr>,
    pub(crate) refusals: Refusals,
    pub(crate) drain: Drain,
}

/// In a request's extensions: its path ended in a slash, which nobody sees who answers it. What is
/// relative in such an answer means another place.
pub struct TrailingSlash;

/// Counts and logs every request, and notes how long its answer is under way. What is done for it
/// knows its id, which the answer has as well: that of its sender, or one that is made here.
pub(crate) async fn observe(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let value = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    let id = RequestId::of_sender(value(RequestId::HEADER), value(RequestId::TRACEPARENT));
    let id = id.unwrap_or_else(RequestId::random);
    RequestId::scope(Some(id.clone()), answer(request, next, id)).await
}

async fn answer(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
    id: RequestId,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let started = Instant::now();
    let observer = request.app_data::<Data<Observer>>().expect("the server adds it").clone();
    let timer = observer.metrics.start();
    let request_size = content_length(request.headers());
    let (method, path) = (request.method().clone(), request.path().to_owned());
    let host = match is_for(&observer.host, request.headers()) {
        true => observer.host.as_str(),
        false => UNKNOWN_HOST,
    };

    if path.len() > 1 && path.ends_with('/') {
        request.extensions_mut().insert(TrailingSlash);
    }
    let client = client_address::note(&request, &observer.http);
    let in_hand = request.conn_data::<Rc<Activity>>().map(Activity::begin_request);

    let answer = match client.is_none_or(|client| observer.admits(client, started)) {
        true => next.call(request).await.map(ServiceResponse::map_into_boxed_body),
        false => {
            observer.refusals.note_request("address_rate", client);
            Ok(request.into_response(HttpError::AddressRateLimited.error_response()))
        }
    };
    let result = answer.map(|mut response| {
        protect(response.headers_mut());
        if observer.drain.is_ending() && response.status() != StatusCode::SWITCHING_PROTOCOLS {
            response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
        }
        name(&id, response.headers_mut());
        let line = AccessLine::begin(&response, &id, client, started);
        response.map_body(|_, body| BodyInHand { body, _in_hand: in_hand, line }.boxed())
    });

    let (status, response_size, handler) = match &result {
        Ok(response) => {
            let size = body_size(response.response().body());
            (response.status(), size, route::metric(response.request()))
        }
        Err(error) => (error.as_response_error().status_code(), None, None),
    };
    let sizes = (request_size, response_size);
    let handler = handler.unwrap_or(UNKNOWN_HANDLER);
    timer.finish(handler, host, method.as_str(), status.as_u16(), sizes);
    let (status, took_ms) = (status.as_u16(), started.elapsed().as_millis() as u64);
    // Never the query: it may hold a token.
    log::debug!(method:%, path:%, status, took_ms; "answered");
    result
}

/// Whether a request with these headers is for `host`, at whatever port.
fn is_for(host: &str, headers: &HeaderMap) -> bool {
    let named = headers.get(HOST).and_then(|value| Authority::try_from(value.as_bytes()).ok());
    // An address of IPv6 stands in brackets there.
    named.is_some_and(|named| named.host().trim_matches(['[', ']']).eq_ignore_ascii_case(host))
}

/// Says what a browser is to make of an answer that it shows all the same: nothing, unless the
/// answer says otherwise.
fn protect(headers: &mut HeaderMap) {
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    if !headers.contains_key(CONTENT_SECURITY_POLICY) {
        let nothing = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
        headers.insert(CONTENT_SECURITY_POLICY, nothing);
    }
}

/// Tells whoever asked how the request is called.
fn name(id: &RequestId, headers: &mut HeaderMap) {
    for (name, value) in id.headers() {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.insert(name, value);
        }
    }
}

/// The body of an answer, which is under way until it is dropped.
struct BodyInHand {
    body: BoxBody,
    _in_hand: Option<RequestInHand>,
    line: Option<Box<AccessLine>>,
}

impl MessageBody for BodyInHand {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let next = Pin::new(&mut self.body).poll_next(cx);
        if let (Poll::Ready(Some(Ok(part))), Some(line)) = (&next, &mut self.line) {
            line.on_sent(part.len());
        }
        next
    }
}

impl Observer {
    /// Counts a request of `client`, and returns whether it may be made.
    fn admits(&self, client: IpAddr, now: Instant) -> bool {
        self.http.trusts(client) || self.rates.check(&host(client), now)
    }
}

/// Returns the length of a response's body in bytes, where it is known beforehand.
fn body_size(body: &impl MessageBody) -> Option<u64> {
    match body.size() {
        BodySize::None => Some(0),
        BodySize::Sized(bytes) => Some(bytes),
        BodySize::Stream => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_the_services_own_at_any_port_and_in_any_case() {
        let is_for = |host: &str, named: &str| {
            let value = HeaderValue::from_str(named).expect("a value");
            is_for(host, &HeaderMap::from_iter([(HOST, value)]))
        };
        assert!(is_for("a.example", "A.example") && is_for("a.example", "a.example:4000"));
        assert!(is_for("::1", "[::1]:4000") && is_for("::1", "[::1]"));
        assert!(!is_for("a.example", "b.example") && !is_for("a.example", "a.example.evil"));
        assert!(!super::is_for("a.example", &HeaderMap::new()));
    }
}
