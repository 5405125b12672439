//! A gateway without a listener, whose time, store and neighbours may be simulated: requests are
//! handed to its endpoints within the process.

use std::rc::Rc;

use actix_web::App;
use actix_web::body::to_bytes;
use actix_web::dev::Service;
use actix_web::http::Method;
use actix_web::http::header::AUTHORIZATION;
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

/// The answer to a request: its status, and its body if that is JSON.
pub type Answer = (u16, Value);

/// A gateway of one thread; cheap to clone.
#[derive(Clone)]
pub struct InProcess {
    endpoints: Rc<dyn Fn(TestRequest) -> LocalBoxFuture<'static, Answer>>,
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
        let endpoints = move |request: TestRequest| -> LocalBoxFuture<'static, Answer> {
            let answered = service.call(request.to_request());
            Box::pin(async move {
                let response = match answered.await {
                    Ok(response) => response.map_into_boxed_body().into_parts().1,
                    Err(error) => error.error_response(),
                };
                let status = response.status().as_u16();
                let body = to_bytes(response.into_body()).await.unwrap_or_default();
                (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
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
        (self.endpoints)(request).await
    }
}
