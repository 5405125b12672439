//! What probes are told: that the process answers, and whether all it depends on is there.

use std::collections::BTreeMap;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use serde::Serialize;
use stream_supervisor::Supervisor;

use crate::dependencies::Dependencies;
use crate::response;

/// How many actors a process has that answers.
#[derive(Serialize)]
#[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
pub struct Liveness {
    actors: usize,
}

/// By dependency: `ok`, or what it is otherwise, `away` or `draining`; with a token, why.
#[derive(Serialize)]
#[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
pub struct Readiness(BTreeMap<&'static str, String>);

/// Answers 200 with a [`Liveness`]. Nothing outside is asked: its absence is no reason to restart a
/// service.
pub fn live(supervisor: &Supervisor) -> HttpResponse {
    response::ok(Liveness { actors: supervisor.status().len() })
}

/// Answers 200 when every dependency is there, else 503 with the state of each, and with the cause
/// only if the asker `is_told_why`.
pub fn ready(dependencies: &Dependencies, is_told_why: bool) -> HttpResponse {
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

#[cfg(test)]
mod tests {
    use actix_web::body::to_bytes;
    use serde_json::{Value, json};

    use super::*;

    async fn answered(
        states: &[(&'static str, Result<(), String>)],
        is_told_why: bool,
    ) -> (u16, Value) {
        let response = ready(&states.iter().cloned().collect(), is_told_why);
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
