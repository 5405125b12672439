//! Shared state: what every request may use.

use std::time::Duration;

use actix_web::http::header::HeaderValue;
use stream_audit::AuditLog;
use stream_bridge::Bridge;
use stream_http::{LatestDependencies, PollLimit, RateLimiter, Refusals};
use stream_metrics::{Collectors, Durations};
use stream_protocol::SignalPeer;
use stream_socket::{SocketLimit, SocketMetrics, WriteLimiter};
use stream_supervisor::{Drain, Supervisor};
use stream_tokens::Tokens;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::account_upkeep::AccountUses;
use crate::agent_view::AgentView;
use crate::catalogues::Catalogues;
use crate::config::{Config, ReconnectTokens};
use crate::cors::CorsPolicy;
use crate::embed::EmbedPage;
use crate::error::GatewayError;
use crate::latest::Latest;
use crate::live_count::LiveCount;
use crate::present_agents::PresentAgents;
use crate::relay_view::RelayView;
use crate::turned_away::TurnedAway;
use crate::urls::Urls;
use crate::views::Views;

/// Agents are asked so often at most, however many operators look at them.
const AGENTS_GOOD_FOR: Duration = Duration::from_secs(1);

/// Agents try their relays so often at most, however many operators look at these.
const RELAYS_GOOD_FOR: Duration = Duration::from_secs(10);

/// What metrics call the sockets of clients, and those of users of ADB.
pub(crate) const CLIENT_SOCKET: &str = "client";
pub(crate) const ADB_SOCKET: &str = "adb";

/// So many streams of events a token may have open.
const MAX_EVENT_STREAMS: usize = 8;

/// The state that all threads share which serve requests. It outlives a failure of the actor.
pub(crate) struct State {
    pub(crate) bridge: Bridge,
    pub(crate) views: Views,
    pub(crate) tokens: Tokens,
    /// What is ordered over this gateway.
    pub(crate) audit: AuditLog,
    /// The uses of accounts that are to be written.
    pub(crate) account_uses: AccountUses,
    /// Which agents are there, and what they can launch.
    pub(crate) present_agents: PresentAgents,
    /// The streams of events by the id of the token.
    pub(crate) event_streams: PollLimit,
    /// What the agents say of themselves, for operators.
    pub(crate) agent_views: Latest<Vec<AgentView>>,
    /// How the relays answer the agents, for operators.
    pub(crate) relay_views: Latest<Vec<RelayView>>,
    pub(crate) catalogues: Catalogues,
    pub(crate) turned_away: TurnedAway,
    pub(crate) supervisor: Supervisor,
    /// The parts that a scrape asks beside this one.
    pub(crate) collectors: Collectors,
    /// What this unit depends on, as found last.
    pub(crate) dependencies: LatestDependencies,
    /// Counts the requests of all threads, and what is refused.
    pub(crate) refusals: Refusals,
    /// Requests by the id of their token.
    request_rates: RateLimiter,
    /// Joins by the id of the share; `None` is no limit.
    pub(crate) share_joins: Option<RateLimiter>,
    pub(crate) cors: CorsPolicy,
    pub(crate) embed: EmbedPage,
    pub(crate) token_in_query: bool,
    /// What tells browsers to insist on TLS.
    pub(crate) hsts: Option<HeaderValue>,
    /// Turns true when the gateway stops.
    pub(crate) closing: watch::Receiver<bool>,
    /// The order to drain, if there is one.
    pub(crate) drain: Drain,
    /// The open sockets of clients.
    pub(crate) open_sockets: LiveCount,
    /// The clients whose socket has ended and who may return.
    pub(crate) departures: LiveCount,
    /// What the clients of each session may still write here, and what each user of its ADB.
    pub(crate) writes: WriteLimiter<SignalPeer>,
    /// The sockets of each client and user of ADB, by generation.
    pub(crate) socket_limit: SocketLimit<(SignalPeer, u64)>,
    pub(crate) socket_metrics: SocketMetrics,
    /// What clients say of how long their first frame took.
    pub(crate) first_frames: Durations,
    pub(crate) reconnect_tokens: ReconnectTokens,
    /// How long a client without a socket may take to return before it counts as gone.
    pub(crate) client_grace: Duration,
    /// How long a new session may wait for its first client, in seconds.
    pub(crate) first_client_s: u64,
    pub(crate) urls: Urls,
    /// What operators tell it apart from other gateways by: the name of the machine, and the port.
    pub(crate) unit: String,
}

impl State {
    /// Refuses a configuration that makes no sense.
    pub(crate) fn new(
        config: Config,
        views: Views,
        (tokens, audit): (Tokens, AuditLog),
        (supervisor, collectors): (Supervisor, Collectors),
        closing: watch::Receiver<bool>,
        drain: Drain,
        (open_sockets, departures): (LiveCount, LiveCount),
    ) -> Result<Self, GatewayError> {
        config.check()?;
        let unit = config.unit_name();
        let urls = Urls::new(config.public_url.as_deref())?;
        let reconnect_tokens = ReconnectTokens::of(&config);
        let hsts = format!("max-age={}", config.hsts_s);
        let hsts = HeaderValue::try_from(hsts).ok().filter(|_| config.hsts_s > 0);
        let share_join_interval = Some(Duration::from_secs(config.share_join_interval_s))
            .filter(|interval| !interval.is_zero());
        Ok(Self {
            bridge: views.bridge().clone(),
            views,
            tokens,
            audit,
            account_uses: AccountUses::default(),
            present_agents: PresentAgents::default(),
            event_streams: PollLimit::new(MAX_EVENT_STREAMS),
            agent_views: Latest::good_for(AGENTS_GOOD_FOR),
            relay_views: Latest::good_for(RELAYS_GOOD_FOR),
            catalogues: Catalogues::default(),
            turned_away: TurnedAway::default(),
            supervisor,
            collectors,
            dependencies: LatestDependencies::default(),
            refusals: Refusals::default(),
            request_rates: RateLimiter::per_second(config.requests_per_second),
            share_joins: share_join_interval.map(RateLimiter::one_in),
            cors: CorsPolicy::new(&config.allowed_origins)?,
            embed: EmbedPage::new(&config.embed_origins)?,
            token_in_query: config.allow_token_in_query,
            hsts,
            closing,
            drain,
            open_sockets,
            departures,
            writes: WriteLimiter::default(),
            socket_limit: SocketLimit::default(),
            socket_metrics: SocketMetrics::new(&[CLIENT_SOCKET, ADB_SOCKET]),
            first_frames: Durations::of_first_frames(),
            client_grace: Duration::from_secs(config.client_grace_s),
            first_client_s: config.first_client_s,
            reconnect_tokens,
            urls,
            unit,
        })
    }

    /// Whether the token of this id may make one more request now, which is counted.
    pub(crate) fn admits_request(&self, token_id: &str) -> bool {
        let settings = self.views.settings_in_memory();
        self.request_rates.set_per_second(settings.requests_per_second);
        self.request_rates.check(token_id, Instant::now().into_std())
    }
}
