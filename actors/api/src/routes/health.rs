//! Endpoints that belong to no session: version, health, the state of the actors.

use std::collections::BTreeMap;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use stream_http::response;
use stream_protocol::Op;
use stream_supervisor::ActorStatus;

use crate::auth;
use crate::error::ApiError;
use crate::state::AppState;

/// A probe is answered within this time, even when an actor is stuck.
pub(super) const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

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

/// How many actors a process has that answers.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct Liveness {
    actors: usize,
}

/// `GET /1.0/health/live`: succeeds whenever the process answers. NATS and AMS are not asked: their
/// absence is no reason to restart the agent.
pub(super) async fn live(state: Data<AppState>) -> HttpResponse {
    response::ok(Liveness { actors: state.supervisor.status().len() })
}

/// By dependency: `ok`, or why it is away.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct Readiness(BTreeMap<&'static str, String>);

/// `GET /1.0/health/ready`
pub(super) async fn ready(state: Data<AppState>) -> HttpResponse {
    let probe = tokio::time::timeout(PROBE_TIMEOUT, dependencies(&state)).await;
    readiness(probe.unwrap_or_else(|_| {
        BTreeMap::from([("sessions", Err("gave no answer in time".to_owned()))])
    }))
}

pub(super) async fn dependencies(state: &AppState) -> BTreeMap<&'static str, Result<(), String>> {
    let (sessions, tokens) = tokio::join!(state.sessions.readiness(), state.tokens.ready());
    let tokens = ("tokens", tokens.map_err(|error| error.to_string()));
    sessions.into_iter().chain([tokens]).collect()
}

/// Answers 200 when every dependency is there, else 503 with the cause per dependency.
fn readiness(dependencies: BTreeMap<&'static str, Result<(), String>>) -> HttpResponse {
    let state = |state: &Result<(), String>| state.as_ref().err().cloned().unwrap_or("ok".into());
    let states = Readiness(dependencies.iter().map(|(name, s)| (*name, state(s))).collect());
    if dependencies.values().all(Result::is_ok) {
        return response::ok(states);
    }
    response::failure(StatusCode::SERVICE_UNAVAILABLE, "not ready", Some(states))
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

#[cfg(test)]
mod tests {
    use actix_web::body::to_bytes;
    use serde_json::{Value, json};

    use super::*;

    async fn answered(states: &[(&'static str, Result<(), String>)]) -> (u16, Value) {
        let response = readiness(states.iter().cloned().collect());
        let status = response.status().as_u16();
        let Ok(body) = to_bytes(response.into_body()).await else { panic!("no body") };
        (status, serde_json::from_slice(&body).expect("json"))
    }

    #[actix_web::test]
    async fn ready_means_that_every_dependency_is_there() {
        let (status, body) = answered(&[("nats", Ok(())), ("ams", Ok(()))]).await;
        assert_eq!((status, &body["metadata"]["nats"]), (200, &json!("ok")));
    }

    #[actix_web::test]
    async fn what_is_away_is_named_with_its_cause() {
        let away = Err("connection refused".to_owned());
        let (status, body) = answered(&[("nats", Ok(())), ("ams", away)]).await;
        assert_eq!((status, &body["type"]), (503, &json!("error")));
        assert_eq!(body["metadata"], json!({"nats": "ok", "ams": "connection refused"}));
    }
}
