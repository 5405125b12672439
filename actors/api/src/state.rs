//! What the handlers share, and how they wait.

use std::time::{Duration, Instant};

use stream_http::{HttpError, LatestDependencies, PollLimit, RateLimiter, Refusals};
use stream_metrics::Collectors;
use stream_protocol::{SessionId, SignalPeer};
use stream_sessions::Sessions;
use stream_socket::{CloseCause, CloseCode, SocketLimit, SocketPlace};
use stream_supervisor::Supervisor;
use stream_tokens::{Claims, Tokens};
use tokio::sync::watch;

use crate::error::ApiError;

/// What the handlers of all endpoints share.
#[derive(Clone)]
pub(crate) struct AppState {
    pub(crate) sessions: Sessions,
    pub(crate) tokens: Tokens,
    pub(crate) supervisor: Supervisor,
    /// The parts that a scrape asks beside this one.
    pub(crate) collectors: Collectors,
    /// Counts requests, and what is refused.
    pub(crate) refusals: Refusals,
    pub(crate) rate_limiter: RateLimiter,
    /// Reports by session: each changes its document.
    pub(crate) report_rates: RateLimiter<SessionId>,
    /// Long-polls by the id of the token.
    pub(crate) polls: PollLimit,
    /// The sockets of each instance: signaling with each of its peers, and control.
    pub(crate) sockets: SocketLimit<(SignalPeer, &'static str)>,
    /// What this unit depends on, as found last.
    pub(crate) dependencies: LatestDependencies,
    /// Turns true when the unit stops.
    pub(crate) closing: watch::Receiver<bool>,
}

impl AppState {
    /// Returns what to close sockets with, when the unit stops.
    pub(crate) async fn stopped(&self) -> CloseCause {
        let mut closing = self.closing.clone();
        // Without a sender there is no unit any more.
        let _ = closing.wait_for(|closing| *closing).await;
        CloseCause::restarting("the agent is restarting")
    }

    /// Counts a report about `session`, and returns whether it may be made.
    pub(crate) fn admits_report(&self, session: &SessionId) -> bool {
        let admitted = self.report_rates.check(session, Instant::now());
        if !admitted {
            self.refusals.note_request("report_rate", None);
        }
        admitted
    }

    /// Runs a long-poll for up to `wait`. A unit that stops answers it at once, so that its client
    /// goes on elsewhere.
    ///
    /// # Errors
    ///
    /// 401 as soon as the token of `claims` is revoked, 429 when it has many polls waiting, and
    /// what `poll` fails with.
    pub(crate) async fn poll<T, E: Into<ApiError>>(
        &self,
        claims: &Claims,
        wait: Duration,
        poll: impl AsyncFn(Duration) -> Result<T, E>,
    ) -> Result<T, ApiError> {
        let Some(_place) = self.polls.enter(&claims.id) else {
            self.refusals.note_request("polls", None);
            return Err(HttpError::RateLimited.into());
        };
        tokio::select! {
            biased;
            () = self.tokens.revoked(claims) => Err(HttpError::Unauthorized.into()),
            answer = long_poll(self.closing.clone(), wait, poll) => answer.map_err(Into::into),
        }
    }
}

/// Returns when the instance has newer sockets of this kind.
pub(crate) async fn superseded(place: &SocketPlace<(SignalPeer, &'static str)>) -> CloseCause {
    place.taken().await;
    CloseCause::client_error(CloseCode::Policy, "the instance has opened other sockets")
}

async fn long_poll<T, E>(
    mut closing: watch::Receiver<bool>,
    wait: Duration,
    poll: impl AsyncFn(Duration) -> Result<T, E>,
) -> Result<T, E> {
    tokio::select! {
        answer = poll(wait) => answer,
        _ = closing.wait_for(|closing| *closing) => poll(Duration::ZERO).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix_web::test]
    async fn a_poll_that_waits_is_answered_when_the_unit_stops() {
        let (stop, closing) = watch::channel(false);
        let poll = async |wait: Duration| {
            if !wait.is_zero() {
                std::future::pending::<()>().await;
            }
            Ok::<_, ()>("nothing new")
        };
        let polled = long_poll(closing, Duration::from_secs(60), poll);
        let stops = async {
            stop.send_replace(true);
        };
        let (answer, ()) = tokio::join!(polled, stops);
        assert_eq!(answer, Ok("nothing new"));
    }
}
