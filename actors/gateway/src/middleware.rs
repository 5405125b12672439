//! Around every request: CORS, and the promise of TLS to browsers. Behind one that may have changed
//! something, views are read on.

use std::net::IpAddr;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, STRICT_TRANSPORT_SECURITY};
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{Error, HttpRequest, HttpResponse};

use crate::audited;
use crate::state::State;

/// Answers preflights and marks all other responses for the pages of allowed origins.
pub(crate) async fn mark(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let state = request.app_data::<Data<State>>().expect("the server adds its state").clone();
    let origin = request.headers().get(ORIGIN).cloned();
    let preflight = *request.method() == Method::OPTIONS
        && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    let changes = !request.method().is_safe();
    let mut response = if preflight {
        let mut response = request.into_response(HttpResponse::NoContent().finish());
        state.cors.apply_preflight(origin.as_ref(), response.headers_mut());
        response
    } else {
        let mut response = next.call(request).await?.map_into_boxed_body();
        audited::end(&response).await;
        state.cors.apply(origin.as_ref(), response.headers_mut());
        response
    };
    // What was refused has changed nothing: a stranger makes no views be read.
    if changes && !response.status().is_client_error() {
        state.views.note_change();
    }
    if let Some(hsts) = state.hsts.as_ref().filter(|_| has_name(response.request())) {
        response.headers_mut().insert(STRICT_TRANSPORT_SECURITY, hsts.clone());
    }
    Ok(response)
}

/// Whether the client has reached us by a name of its own: what is promised for an address or for
/// `localhost` would bind others as well.
fn has_name(request: &HttpRequest) -> bool {
    let info = request.connection_info();
    let host = info.host();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let is_local = name == "localhost" || name.ends_with(".localhost");
    !is_local && !name.starts_with('[') && name.parse::<IpAddr>().is_err()
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn only_a_name_of_its_own_is_promised_tls_for() {
        let has_name = |host: &'static str| {
            has_name(&TestRequest::default().insert_header(("Host", host)).to_http_request())
        };
        assert!(has_name("stream.example.org") && has_name("stream.example.org:4000"));
        for host in ["localhost", "localhost:4000", "a.localhost", "127.0.0.1:4000", "[::1]:4000"] {
            assert!(!has_name(host), "{host}");
        }
    }
}
