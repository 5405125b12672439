//! Endpoints that belong to no session: version, health, the state of the actors.

use actix_web::http::header::AUTHORIZATION;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use stream_http::{Dependencies, PROBE_TIMEOUT, health, response};
use stream_protocol::Op;
use stream_supervisor::ActorStatus;

use crate::auth;
use crate::error::ApiError;
use crate::state::AppState;

/// What is said of the API itself.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct Version {
    #[cfg_attr(test, schemars(extend("const" = API_VERSION)))]
    api_version: &'static str,
    api_status: &'static str,
    #[cfg_attr(test, schemars(with = "Vec<String>"))]
    api_extensions: [&'static str; 0],
    version: &'static str,
}

const API_VERSION: &str = "1.0";

/// `GET /1.0`
pub(super) async fn version() -> HttpResponse {
    response::ok(Version {
        api_version: API_VERSION,
        api_status: "stable",
        api_extensions: [],
        version: env!("CARGO_PKG_VERSION"),
    })
}

/// `GET /1.0/health/live`: succeeds whenever the process answers. NATS and AMS are not asked: their
/// absence is no reason to restart the agent.
pub(super) async fn live(state: Data<AppState>) -> HttpResponse {
    health::live(&state.supervisor)
}

/// `GET /1.0/health/ready`: which dependency is away. Why is told only to a token that may read the
/// status. However many probes come, the actors are asked once a second, and no more than twenty
/// times while something is away.
pub(super) async fn ready(
    request: HttpRequest,
    state: Data<AppState>,
) -> Result<HttpResponse, ApiError> {
    let is_told_why = request.headers().contains_key(AUTHORIZATION);
    if is_told_why {
        auth::plain(&request, &state, Op::StatusRead).await?;
    }
    Ok(health::ready(&dependencies(&state).await, is_told_why))
}

pub(super) async fn dependencies(state: &AppState) -> Dependencies {
    let look = async {
        let (sessions, tokens) = tokio::join!(state.sessions.readiness(), state.tokens.ready());
        let tokens = ("tokens", tokens.map_err(|error| error.to_string()));
        sessions.into_iter().chain([tokens]).collect()
    };
    state.dependencies.get(look).await
}

/// The state of this unit.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct UnitStatus {
    version: &'static str,
    actors: Vec<ActorStatus>,
    /// What only an operator can settle, a sentence each.
    alerts: Vec<String>,
}

/// `GET /1.0/status`: the state of every actor, and the alerts that only an operator can settle.
pub(super) async fn status(
    request: HttpRequest,
    state: Data<AppState>,
) -> Result<HttpResponse, ApiError> {
    auth::plain(&request, &state, Op::StatusRead).await?;
    let alerts = tokio::time::timeout(PROBE_TIMEOUT, state.sessions.alerts()).await;
    // The status of `sessions` shows why there are none then.
    let alerts = alerts.ok().and_then(Result::ok).unwrap_or_default();
    Ok(response::ok(UnitStatus {
        version: env!("CARGO_PKG_VERSION"),
        actors: state.supervisor.status(),
        alerts: alerts.into_iter().map(|alert| alert.text).collect(),
    }))
}
