//! Tells gateways how this agent is, and takes their order to drain, for the console.
//!
//! Asked by gateways over NATS; asks the supervisor, `sessions`, `tokens` and `turn`. A restart
//! loses the requests in hand, which the gateway answers for: it shows that the agent is silent.

mod drain;
mod relays;

use std::sync::Arc;
use std::time::Duration;

use stream_bridge::{Bridge, IncomingRequest};
use stream_protocol::subjects::{self, AgentOp, AgentRequest};
use stream_protocol::{
    ActorOverview, AgentId, AgentOverview, Empty, Refusal, RefusalCode, Reply as Answer, Versioned,
};
use stream_sessions::Sessions;
use stream_supervisor::{
    ActorState, ActorStatus, Context, Drain, Handler, Limits, Mode, Reply, RestartPolicy,
    Supervisor, Worker, retry_while,
};
use stream_tokens::Tokens;
use stream_turn::Turn;
use tokio::time::timeout;

/// What is not known within this time is left out: the gateway waits little longer.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// Whom the actor asks, and what it knows of its agent.
pub struct Sources {
    pub agent: AgentId,
    /// Sessions that the agent takes at most.
    pub places: u32,
    /// Whether orders to drain are taken over the network.
    pub remote_drain: bool,
    pub bridge: Bridge,
    pub drain: Drain,
    pub sessions: Sessions,
    pub supervisor: Supervisor,
    pub tokens: Tokens,
    pub turn: Turn,
}

/// Starts the actor under the supervisor of `sources`; it subscribes in the background.
pub fn start(sources: Sources) {
    let supervisor = sources.supervisor.clone();
    let sources = Arc::new(sources);
    supervisor.spawn(
        "overview",
        Mode::KeepInFlight,
        RestartPolicy::default(),
        Limits::default(),
        move || Actor { sources: Arc::clone(&sources) },
    );
}

struct Actor {
    sources: Arc<Sources>,
}

impl Worker for Actor {
    fn started(&mut self, ctx: &Context<Self>) {
        for op in [AgentOp::Drain, AgentOp::Overview, AgentOp::Relays] {
            let (sources, requests) =
                (Arc::clone(&self.sources), ctx.mailbox().recipient::<IncomingRequest>());
            ctx.spawn(async move {
                let subscribe = async || {
                    let subject = subjects::agent(&sources.agent, op);
                    sources.bridge.serve(subject, requests.clone()).await
                };
                // The bridge may be restarting; without a limit, no error ends this.
                let _ = retry_while(Duration::MAX, |_| true, subscribe).await;
            });
        }
    }
}

impl Handler<IncomingRequest> for Actor {
    fn handle(&mut self, request: &IncomingRequest, _: &Context<Self>) -> Reply<()> {
        let (sources, request) = (Arc::clone(&self.sources), request.clone());
        Reply::later(async move {
            let answer = match request.subject.parse() {
                Ok(AgentRequest::Agent { op: AgentOp::Overview, .. }) => {
                    Answer::encode(Ok(sources.overview().await))
                }
                Ok(AgentRequest::Agent { op: AgentOp::Relays, .. }) => {
                    Answer::encode(relays::look(&sources.turn).await)
                }
                Ok(AgentRequest::Agent { op: AgentOp::Drain, .. }) => {
                    let ordered = match Versioned::decode(&request.body) {
                        Ok(order) => sources.take_order(&order).await,
                        Err(refusal) => Err(refusal),
                    };
                    Answer::encode(ordered)
                }
                _ => {
                    log::warn!(subject:% = request.subject; "a request is not ours");
                    let why = format!("no such request: {}", request.subject);
                    let refusal = Refusal::new(RefusalCode::Malformed, why);
                    Answer::<Empty>::encode(Err(refusal))
                }
            };
            request.answer(answer).await;
        })
    }
}

impl Sources {
    async fn overview(&self) -> AgentOverview {
        let (sessions, alerts, dependencies, tokens) = tokio::join!(
            timeout(PROBE_TIMEOUT, self.sessions.served_count()),
            timeout(PROBE_TIMEOUT, self.sessions.alerts()),
            timeout(PROBE_TIMEOUT, self.sessions.readiness()),
            timeout(PROBE_TIMEOUT, self.tokens.ready()),
        );
        let silent = || Err("gave no answer in time".to_owned());
        let tokens = tokens.map_or_else(|_| silent(), |it| it.map_err(|error| error.to_string()));
        let dependencies = dependencies.unwrap_or_else(|_| vec![("sessions", silent())]);
        // That it drains is said by itself.
        let dependencies = dependencies.into_iter().filter(|(name, _)| *name != "drain");
        let word = |state: Result<(), String>| state.err().unwrap_or_else(|| "ok".to_owned());
        let sessions = sessions.ok().and_then(Result::ok).unwrap_or_default();
        let alerts = alerts.ok().and_then(Result::ok).unwrap_or_default();
        AgentOverview {
            sessions: saturate(sessions),
            places: self.places,
            dependencies: dependencies
                .chain([("tokens", tokens)])
                .map(|(name, state)| (name.to_owned(), word(state)))
                .collect(),
            actors: self.supervisor.status().into_iter().map(actor).collect(),
            alerts: alerts.into_iter().map(|alert| alert.text).collect(),
            draining: self.drain.is_draining(),
            left: saturate(self.drain.remaining()),
            ends_in_s: self.drain.time_left().map(|left| left.as_secs()),
            remote_drain: self.remote_drain,
        }
    }
}

fn actor(status: ActorStatus) -> ActorOverview {
    let state = match status.state {
        ActorState::Running => "running",
        ActorState::Backoff => "backoff",
        ActorState::Escalated => "escalated",
        ActorState::Stopped => "stopped",
    };
    ActorOverview {
        name: status.name.to_owned(),
        state: state.to_owned(),
        restarts: status.restarts,
        last_failure: status.last_failure.map(|failure| failure.cause),
    }
}

fn saturate(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
