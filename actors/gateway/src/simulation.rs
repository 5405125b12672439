//! A gateway without a listener, whose time, store and neighbours may be simulated: requests are
//! handed to its endpoints within the process.

mod client_socket;

use std::rc::Rc;

use actix_http::Request;
use actix_web::App;
use actix_web::body::{BoxBody, to_bytes};
use actix_web::dev::Service;
use actix_web::http::header::{
    AUTHORIZATION, CONNECTION, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use actix_web::http::{Method, StatusCode};
use actix_web::test::{TestRequest, init_service};
use actix_web::web::Data;
use serde_json::Value;
use stream_audit::AuditLog;
use stream_metrics::Collectors;
use stream_supervisor::{Drain, LocalBoxFuture, Supervisor};
use stream_tokens::Tokens;
use tokio::sync::watch;

use crate::config::Config;
use crate::error::GatewayError;
use crate::live_count::LiveCount;
use crate::state::State;
use crate::views::Views;
use crate::{background, routes};

pub use client_socket::{ClientSocket, Heard};

/// The answer to a request: its status, and its body if that is JSON.
pub type Answer = (u16, Value);

/// A gateway of one thread; cheap to clone.
#[derive(Clone)]
pub struct InProcess {
    endpoints: Rc<dyn Fn(Request) -> LocalBoxFuture<'static, (StatusCode, BoxBody)>>,
    /// Dropped with the last clone, which ends what waits for it.
    _closing: Rc<watch::Sender<bool>>,
}

impl InProcess {
    /// Starts what [`Gateway`](crate::Gateway) starts beside its server, on this thread.
    ///
    /// # Errors
    ///
    /// Refuses a configuration that makes no sense.
    pub async fn start(
        config: Config,
        views: Views,
        tokens: Tokens,
        supervisor: &Supervisor,
    ) -> Result<Self, GatewayError> {
        let (closing, closed) = watch::channel(false);
        let state = Data::new(State::new(
            config,
            views,
            (tokens, AuditLog::default()),
            (supervisor.clone(), Collectors::new(Vec::new())),
            closed,
            Drain::default(),
            (LiveCount::default(), LiveCount::default()),
        )?);
        background::start(&state);
        let app = App::new().configure(|app| routes::configure(app, &state));
        let service = Rc::new(init_service(app).await);
        let endpoints = move |request: Request| -> LocalBoxFuture<'static, _> {
            let answered = service.call(request);
            Box::pin(async move {
                let response = match answered.await {
                    Ok(response) => response.map_into_boxed_body().into_parts().1,
                    Err(error) => error.error_response(),
                };
                (response.status(), response.into_body())
            })
        };
        Ok(Self { endpoints: Rc::new(endpoints), _closing: Rc::new(closing) })
    }

    /// Has an endpoint answer a request with this token.
    pub async fn call(&self, method: &str, path: &str, token: &str, body: Option<Value>) -> Answer {
        let method = Method::from_bytes(method.as_bytes()).unwrap_or(Method::GET);
        let authorization = (AUTHORIZATION, format!("Macaroon root={token}"));
        let request = TestRequest::with_uri(path).method(method).insert_header(authorization);
        let request = match body {
            Some(body) => request.set_json(body),
            None => request,
        };
        let (status, body) = (self.endpoints)(request.to_request()).await;
        let body = to_bytes(body).await.unwrap_or_default();
        (status.as_u16(), serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    /// Opens a socket; returns the status of the answer if that is refused.
    pub async fn open(&self, path: &str) -> Result<ClientSocket, u16> {
        let request = TestRequest::with_uri(path)
            .insert_header((CONNECTION, "upgrade"))
            .insert_header((UPGRADE, "websocket"))
            .insert_header((SEC_WEBSOCKET_VERSION, "13"))
            .insert_header((SEC_WEBSOCKET_KEY, "x3JJHMbDL1EzLkh9GBhXDw=="));
        let (frames, payload) = client_socket::payload();
        let mut request = request.to_request();
        *request.payload() = payload;
        match (self.endpoints)(request).await {
            (StatusCode::SWITCHING_PROTOCOLS, body) => Ok(ClientSocket::new(frames, body)),
            (status, _) => Err(status.as_u16()),
        }
    }
}
