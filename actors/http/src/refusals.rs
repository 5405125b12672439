//! What is refused leaves a trace: a counter by cause, and now and then a line, so that an operator
//! sees an attempt without the attempt filling the log.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use stream_metrics::HttpMetrics;

use crate::activity::Overdue;

/// Between two lines with the same cause.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// Why a connection is refused, or ended before its time.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum RefusedConnection {
    /// Its address has as many as it may have.
    Address,
    /// So have all addresses together.
    Server,
    /// It had said nothing, and its place was needed.
    GaveWay,
    /// It has said nothing in time.
    Silent,
    SlowHandshake,
    Handshake,
    /// Its address has made too many full handshakes.
    TooManyHandshakes,
    /// It went away in its handshake.
    Broken,
    /// A trusted proxy began it without its header.
    ProxyHeader,
    /// The head of a request did not come in time.
    SlowHead,
    /// Its answer is not read.
    UnreadAnswer,
    /// It made no further request: no attempt, and no line.
    Idle,
}

impl RefusedConnection {
    fn name(self) -> &'static str {
        match self {
            Self::Address => "address_limit",
            Self::Server => "server_limit",
            Self::GaveWay => "gave_way",
            Self::Silent => "silent",
            Self::SlowHandshake => "slow_handshake",
            Self::Handshake => "handshake",
            Self::TooManyHandshakes => "handshake_rate",
            Self::Broken => "broken",
            Self::ProxyHeader => "proxy_header",
            Self::SlowHead => "slow_head",
            Self::UnreadAnswer => "unread_answer",
            Self::Idle => "idle",
        }
    }
}

impl From<Overdue> for RefusedConnection {
    fn from(overdue: Overdue) -> Self {
        match overdue {
            Overdue::FirstByte => Self::Silent,
            Overdue::Head => Self::SlowHead,
            Overdue::Answer => Self::UnreadAnswer,
            Overdue::Idle => Self::Idle,
        }
    }
}

/// Counts and tells what is refused; clones share it.
#[derive(Clone, Default)]
pub struct Refusals {
    metrics: HttpMetrics,
    lines: Arc<Mutex<HashMap<&'static str, Line>>>,
    on_handshake: Option<FailedHandshake>,
}

/// Is told why a handshake failed.
type FailedHandshake = Arc<dyn Fn(&io::Error) + Send + Sync>;

struct Line {
    at: Instant,
    /// What was refused since, and not told.
    untold: u64,
}

impl Refusals {
    /// Counts in `metrics`.
    pub fn new(metrics: &HttpMetrics) -> Self {
        Self { metrics: metrics.clone(), ..Self::default() }
    }

    /// Has `tell` hear why a handshake failed, each time that one does.
    pub fn on_failed_handshake(self, tell: impl Fn(&io::Error) + Send + Sync + 'static) -> Self {
        Self { on_handshake: Some(Arc::new(tell)), ..self }
    }

    pub(crate) fn note_handshake(&self, error: &io::Error) {
        if let Some(tell) = &self.on_handshake {
            tell(error);
        }
    }

    /// Where they are counted, beside all else.
    pub fn metrics(&self) -> &HttpMetrics {
        &self.metrics
    }

    pub(crate) fn note_connection(&self, cause: RefusedConnection, client: IpAddr) {
        self.metrics.refused_connection(cause.name());
        if cause != RefusedConnection::Idle
            && let Some(more) = self.is_told(cause.name(), Instant::now())
        {
            log::info!(client:%, cause = cause.name(), more; "a connection is refused");
        }
    }

    /// Counts a request that is refused for `cause`, a word of ours.
    pub fn note_request(&self, cause: &'static str, client: Option<IpAddr>) {
        self.metrics.refused_request(cause);
        if let Some(more) = self.is_told(cause, Instant::now()) {
            let client = client.map(|client| client.to_string()).unwrap_or_default();
            log::info!(client:%, cause, more; "a request is refused");
        }
    }

    /// Returns how many there were before this one that no line has told, if it is time for a line.
    fn is_told(&self, cause: &'static str, now: Instant) -> Option<u64> {
        let mut lines = self.lines.lock();
        let Some(line) = lines.get_mut(cause) else {
            lines.insert(cause, Line { at: now, untold: 0 });
            return Some(0);
        };
        if now.saturating_duration_since(line.at) < LINE_INTERVAL {
            line.untold += 1;
            return None;
        }
        line.at = now;
        Some(std::mem::take(&mut line.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_once_in_a_while_with_the_number_of_those_between() {
        let (refusals, now) = (Refusals::default(), Instant::now());
        assert_eq!(refusals.is_told("a", now), Some(0));
        assert_eq!(refusals.is_told("a", now), None);
        assert_eq!(refusals.is_told("a", now), None);
        assert_eq!(refusals.is_told("b", now), Some(0), "another cause");
        assert_eq!(refusals.is_told("a", now + LINE_INTERVAL), Some(2));
        assert_eq!(refusals.is_told("a", now + LINE_INTERVAL * 2), Some(0));
    }
}
