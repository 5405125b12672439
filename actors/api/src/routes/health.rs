//! Endpoints that belong to no session: version, health, the state of the actors.

use std::collections::BTreeMap;

use actix_web::http::StatusCode;
use actix_web::http::header::AUTHORIZATION;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use stream_http::response;
use stream_protocol::Op;
use stream_supervisor::ActorStatus;

use crate::auth;
use crate::dependencies::{Dependencies, PROBE_TIMEOUT};
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

/// By dependency: `ok`, or what it is otherwise, `away` or `draining`; with a token, why.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct Readiness(BTreeMap<&'static str, String>);

/// `GET /1.0/health/ready`: which dependency is away. Why is told only to a token that may read the
/// status. However many probes come, the actors are asked once a second.
pub(super) async fn ready(
    request: HttpRequest,
    state: Data<AppState>,
) -> Result<HttpResponse, ApiError> {
    let is_told_why = request.headers().contains_key(AUTHORIZATION);
    if is_told_why {
        auth::plain(&request, &state, Op::StatusRead).await?;
    }
    Ok(readiness(dependencies(&state).await, is_told_why))
}

pub(super) async fn dependencies(state: &AppState) -> Dependencies {
    let look = async {
        let (sessions, tokens) = tokio::join!(state.sessions.readiness(), state.tokens.ready());
        let tokens = ("tokens", tokens.map_err(|error| error.to_string()));
        sessions.into_iter().chain([tokens]).collect()
    };
    state.dependencies.get(look).await
}

/// Answers 200 when every dependency is there, else 503 with the state of each, and with the cause
/// only if the asker `is_told_why`.
fn readiness(dependencies: Dependencies, is_told_why: bool) -> HttpResponse {
    let state = |name: &str, state: &Result<(), String>| match (state, name) {
        (Ok(()), _) => "ok".to_owned(),
        (Err(why), _) if is_told_why => why.clone(),
        (Err(_), "drain") => "draining".to_owned(),
        (Err(_), _) => "away".to_owned(),
    };
    let states = Readiness(dependencies.iter().map(|(name, s)| (*name, state(name, s))).collect());
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

    async fn answered(
        states: &[(&'static str, Result<(), String>)],
        is_told_why: bool,
    ) -> (u16, Value) {
        let response = readiness(states.iter().cloned().collect(), is_told_why);
        let status = response.status().as_u16();
        let Ok(body) = to_bytes(response.into_body()).await else { panic!("no body") };
        (status, serde_json::from_slice(&body).expect("json"))
    }

    #[actix_web::test]
    async fn ready_means_that_every_dependency_is_there() {
        let (status, body) = answered(&[("nats", Ok(())), ("ams", Ok(()))], false).await;
        assert_eq!((status, &body["metadata"]["nats"]), (200, &json!("ok")));
    }

    #[actix_web::test]
    async fn what_is_away_is_named_and_its_cause_told_to_whoever_may_know() {
        let why = |text: &str| Err(text.to_owned());
        let states = [("nats", Ok(())), ("ams", why("refused")), ("drain", why("draining"))];
        let (status, body) = answered(&states, true).await;
        assert_eq!((status, &body["type"]), (503, &json!("error")));
        let whole = json!({"nats": "ok", "ams": "refused", "drain": "draining"});
        assert_eq!(body["metadata"], whole);
        let (status, body) = answered(&states, false).await;
        let words = json!({"nats": "ok", "ams": "away", "drain": "draining"});
        assert_eq!((status, &body["metadata"]), (503, &words));
    }
}
