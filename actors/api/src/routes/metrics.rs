//! `GET /metrics`: the scrape of Prometheus.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use stream_http::{export_actors, export_dependencies, scrape_response};
use stream_metrics::Exposition;
use stream_protocol::Op;
use stream_sessions::Alert;

use super::health::dependencies;
use crate::auth;
use crate::error::ApiError;
use crate::state::AppState;
use stream_http::PROBE_TIMEOUT;

const PREFIX: &str = "anbox_stream_agent";

/// Answers with all metrics; those that need another actor are left out when it does not answer
/// in time.
pub(super) async fn scrape(
    request: HttpRequest,
    state: Data<AppState>,
) -> Result<HttpResponse, ApiError> {
    auth::plain(&request, &state, Op::StatusRead).await?;
    let mut exposition = Exposition::new(PREFIX);
    export_actors(&mut exposition, &state.supervisor.status());
    exposition.requests(state.refusals.metrics());
    let unit = state.sessions.agent().to_string();
    let unit = vec![("unit", unit), ("version", env!("CARGO_PKG_VERSION").into())];
    exposition.gauges("build_info", "Which agent answers, and its version", [(unit, 1)]);
    state.collectors.collect(&mut exposition);
    let sessions = &state.sessions;
    let found =
        async { tokio::join!(dependencies(&state), sessions.served_count(), sessions.alerts()) };
    if let Ok((dependencies, open, alerts)) = tokio::time::timeout(PROBE_TIMEOUT, found).await {
        export_dependencies(&mut exposition, &dependencies);
        if let Ok(open) = open {
            exposition.count("sessions_open", "Sessions that this agent serves", open as u64);
        }
        if let Ok(alerts) = alerts {
            let (help, counts) = ("What only an operator can settle", count(&alerts));
            exposition.counts("alerts", help, "alert", counts);
        }
    }
    Ok(scrape_response(&request, &exposition))
}

/// Counts the alerts of each kind. A kind without alerts counts 0: a series must not vanish.
fn count(alerts: &[Alert]) -> impl Iterator<Item = (String, u64)> {
    Alert::NAMES.into_iter().map(|name| {
        let count = alerts.iter().filter(|alert| alert.name == name).count();
        (name.to_owned(), count as u64)
    })
}
