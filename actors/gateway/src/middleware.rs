//! Around every request: CORS, headers for browsers, and the end of connections while the gateway
//! drains.

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{
    ACCESS_CONTROL_REQUEST_METHOD, HeaderValue, ORIGIN, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use actix_web::http::{ConnectionType, Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{Error, HttpResponse};

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
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    Ok(response)
}
