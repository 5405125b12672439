//! The table of what is served, and what all of it has in common.

use std::time::Instant;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{
    ACCESS_CONTROL_REQUEST_METHOD, HeaderValue, ORIGIN, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use actix_web::middleware::Next;
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{Error, HttpResponse};
use stream_protocol::{Code, Failure, Refusal};

use crate::answer::Answer;
use crate::state::State;
use crate::{catalog, page, sessions, socket};

/// Adds all routes.
pub(crate) fn configure(service: &mut ServiceConfig) {
    let api = web::scope("/1.0")
        .service(at("/applications").get(catalog::applications))
        .service(at("/regions").get(catalog::regions))
        .service(at("/status").get(catalog::status))
        .service(at("/sessions").get(sessions::list).post(sessions::create))
        .service(at("/sessions/{id}").get(sessions::read).delete(sessions::delete))
        .service(at("/sessions/{id}/join").post(sessions::join))
        .service(at("/sessions/{id}/sockets/slave").get(socket::open))
        .service(at("/session/{id}/sockets/slave").get(socket::open))
        .default_service(web::to(unknown));
    service.service(api).configure(page::configure).default_service(web::to(unknown));
}

fn at(path: &str) -> actix_web::Resource {
    web::resource(path).default_service(web::to(wrong_method))
}

async fn unknown() -> Answer {
    Err(Refusal::new(Code::NotFound, "there is nothing at this path").into())
}

async fn wrong_method() -> HttpResponse {
    HttpResponse::MethodNotAllowed().json(Failure::new(405, "this path does not take the method"))
}

/// Around every request: answers preflights, marks answers for browsers, writes the access log.
pub(crate) async fn around(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let started = Instant::now();
    let state = request.app_data::<Data<State>>().expect("the server adds its state").clone();
    let origin = request.headers().get(ORIGIN).cloned();
    let (method, path) = (request.method().clone(), request.path().to_owned());

    let preflight =
        method == Method::OPTIONS && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = if preflight {
        let mut response = request.into_response(HttpResponse::NoContent().finish());
        state.origins.mark_preflight(origin.as_ref(), response.headers_mut());
        response
    } else {
        let mut response = next.call(request).await?.map_into_boxed_body();
        state.origins.mark(origin.as_ref(), response.headers_mut());
        response
    };

    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    // Never the query: it may hold a token.
    let (status, took) = (response.status().as_u16(), started.elapsed().as_millis());
    log::debug!("{method} {path} {status} in {took} ms");
    Ok(response)
}
