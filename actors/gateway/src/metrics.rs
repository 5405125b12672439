//! GET `/metrics`: the text that Prometheus scrapes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::web::Data;
use stream_http::{export_actors, export_dependencies, scrape_response};
use stream_metrics::{Collect, Exposition};
use stream_protocol::{AgentId, Op, Refusal};

use crate::auth::authorize;
use crate::health;
use crate::placement;
use crate::response::HandlerResult;
use crate::state::State;
use crate::views::{AccountIndex, STATUSES, SessionIndex, Views};

const PREFIX: &str = "anbox_stream_gateway";

/// How long a scrape waits for the store; without it, the other metrics are answered alone.
const STORE_DEADLINE: Duration = Duration::from_secs(5);

pub(crate) async fn scrape(request: HttpRequest, state: Data<State>) -> HandlerResult {
    authorize(&request, &state, Op::StatusRead, None).await?;
    let mut page = Exposition::new(PREFIX);
    export_actors(&mut page, &state.supervisor.status());
    let unit = vec![("unit", state.unit.clone()), ("version", env!("CARGO_PKG_VERSION").into())];
    page.gauges("build_info", "Which gateway answers, and its version", [(unit, 1)]);
    page.requests(state.refusals.metrics());
    state.socket_metrics.collect(&mut page);
    let help = "Time from a client's request to join or create to its first frame, as it says";
    page.durations("client_first_frame_duration_seconds", help, &state.first_frames);
    state.collectors.collect(&mut page);
    let dependencies = health::dependencies(&state).await;
    let connected = dependencies.get("nats").is_some_and(Result::is_ok);
    page.count("nats_up", "Whether NATS is connected", connected.into());
    export_dependencies(&mut page, &dependencies);
    match tokio::time::timeout(STORE_DEADLINE, StoreStats::read(&state.views)).await {
        Ok(Ok(stats)) => stats.export(&mut page),
        Ok(Err(error)) => log::debug!(error:%; "a scrape went without the store"),
        Err(_) => log::debug!("a scrape went without the store: it gave no answer in time"),
    }
    Ok(scrape_response(&request, &page))
}

/// What the store holds, in numbers.
#[derive(Debug, PartialEq)]
struct StoreStats {
    sessions: BTreeMap<String, u64>,
    /// Sessions whose documents this version cannot read.
    unreadable: u64,
    accounts: u64,
    agents: u64,
    /// Agents that own live sessions and have no presence.
    unresponsive: u64,
}

impl StoreStats {
    async fn read(views: &Views) -> Result<Self, Refusal> {
        let accounts = views.accounts(AccountIndex::len).await?;
        let present = placement::list(views.bridge()).await?;
        let present = present.into_iter().map(|presence| presence.agent).collect();
        views.sessions(|sessions| Self::of(sessions, accounts, &present)).await
    }

    fn of(sessions: &SessionIndex, accounts: usize, present: &BTreeSet<AgentId>) -> Self {
        // Also those of no session: a series must not vanish at zero.
        let count = |status| sessions.of_status(status).len() as u64;
        let is_away = |agent: &&AgentId| !present.contains(agent);
        Self {
            sessions: STATUSES.iter().map(|one| (one.to_string(), count(*one))).collect(),
            unreadable: sessions.unreadable() as u64,
            accounts: accounts as u64,
            agents: present.len() as u64,
            unresponsive: sessions.owners().filter(is_away).count() as u64,
        }
    }

    fn export(self, page: &mut Exposition) {
        page.counts("sessions_total", "Sessions in the store", "status", self.sessions);
        let help = "Sessions whose documents this version cannot read";
        page.count("sessions_unreadable", help, self.unreadable);
        page.count("accounts_total", "Service accounts", self.accounts);
        page.count("agents_total", "Agents that are there", self.agents);
        let help = "Agents that own sessions and are not there";
        page.count("agents_unresponsive", help, self.unresponsive);
    }
}

#[cfg(test)]
mod tests {
    use stream_protocol::{SessionDocument, Status};

    use super::*;

    fn document(status: Status, owner: &str) -> SessionDocument {
        let owner = owner.parse().unwrap();
        SessionDocument { status, owner: Some(owner), ..SessionDocument::sample() }
    }

    #[test]
    fn agents_with_live_sessions_that_are_not_there_are_unresponsive() {
        let documents = [
            document(Status::Active, "here"),
            document(Status::Active, "gone"),
            document(Status::Created, "gone"),
            document(Status::Terminated, "long-gone"),
        ];
        let stats = StoreStats::of(
            &documents.into_iter().collect(),
            3,
            &BTreeSet::from(["here".parse().unwrap()]),
        );
        assert_eq!((stats.accounts, stats.agents, stats.unresponsive), (3, 1, 1));
        let sessions: Vec<_> = stats.sessions.into_iter().filter(|(_, n)| *n > 0).collect();
        let expected = [("active", 2), ("created", 1), ("terminated", 1)];
        assert_eq!(sessions, expected.map(|(status, n)| (status.to_owned(), n)));
    }

    #[test]
    fn a_status_without_sessions_is_told_as_zero() {
        let mut page = Exposition::new(PREFIX);
        StoreStats::of(&SessionIndex::default(), 0, &BTreeSet::new()).export(&mut page);
        let line = r#"anbox_stream_gateway_sessions_total{status="active"} 0"#;
        assert!(page.text(stream_metrics::Format::Text).lines().any(|found| found == line));
    }
}
