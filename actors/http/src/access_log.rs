//! The access log: one line for each request at the end of its answer, and for each socket at its
//! end.
//!
//! Its lines have a target of their own, [`ACCESS_LOG`], by which a logger lets them pass or not:
//! where it does not, a request costs nothing more.

use std::net::IpAddr;
use std::time::Instant;

use actix_web::dev::ServiceResponse;
use actix_web::http::StatusCode;
use actix_web::{HttpMessage, HttpRequest};
use log::Level;
use stream_supervisor::RequestId;

use crate::route::route;

/// The target of these lines.
pub const ACCESS_LOG: &str = "access";

/// What stands where something is not known.
const UNKNOWN: &str = "-";

/// In a request's extensions: the id of the token that it came with.
struct TokenId(String);

/// Notes the id of the token that `request` came with, for its line in the access log. The token
/// itself is no id.
pub fn note_token(request: &HttpRequest, id: &str) {
    request.extensions_mut().insert(TokenId(id.to_owned()));
}

/// What is known of a request when its answer begins; the line is written when this is dropped.
pub(crate) struct AccessLine {
    started: Instant,
    id: RequestId,
    method: String,
    /// The pattern: a path names sessions and shares.
    route: &'static str,
    code: u16,
    client: Option<IpAddr>,
    token: Option<String>,
    bytes: u64,
}

impl AccessLine {
    /// Returns the line of the request that `response` answers, if there is to be one.
    pub(crate) fn begin(
        response: &ServiceResponse<impl Sized>,
        id: &RequestId,
        client: Option<IpAddr>,
        started: Instant,
    ) -> Option<Box<Self>> {
        if !log::log_enabled!(target: ACCESS_LOG, Level::Info) {
            return None;
        }
        let request = response.request();
        let token = request.extensions().get::<TokenId>().map(|TokenId(id)| id.clone());
        Some(Box::new(Self {
            started,
            id: id.clone(),
            method: request.method().to_string(),
            route: route(request).unwrap_or(UNKNOWN),
            code: response.status().as_u16(),
            client,
            token,
            bytes: 0,
        }))
    }

    /// Counts a part of the answer that was sent.
    pub(crate) fn on_sent(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    fn write(&self) {
        let Self { method, route, code, bytes, .. } = self;
        let took_ms = self.started.elapsed().as_millis() as u64;
        let client = self.client.map_or_else(|| UNKNOWN.to_owned(), |client| client.to_string());
        let token = self.token.as_deref().unwrap_or(UNKNOWN);
        let what = match *code == StatusCode::SWITCHING_PROTOCOLS.as_u16() {
            true => "socket closed",
            false => "answered",
        };
        log::info!(
            target: ACCESS_LOG, method, route, code, took_ms, bytes, token, client;
            "{what}"
        );
    }
}

impl Drop for AccessLine {
    fn drop(&mut self) {
        RequestId::within(Some(self.id.clone()), || self.write());
    }
}
