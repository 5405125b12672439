//! What is counted and measured of sockets and of the signals that pass them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use stream_metrics::{Collect, Counts, Durations, Exposition, LiveCounts, LiveGuard};
use stream_protocol::{Direction, Signal, SignalPeer};

use crate::{CloseCause, CloseCode};

/// How many signals of a socket are looked at for an answer: it is among the first of a client.
const LOOKED_AT: u32 = 64;

/// The figures of all sockets of a unit; clones count together.
#[derive(Clone)]
pub struct SocketMetrics(Arc<Figures>);

struct Figures {
    open: LiveCounts,
    closed: Counts,
    hops: Durations,
    answers: Durations,
}

impl SocketMetrics {
    /// Counts sockets of these `kinds` from zero.
    pub fn new(kinds: &[&'static str]) -> Self {
        Self(Arc::new(Figures {
            open: LiveCounts::of(kinds.iter().map(|kind| vec![("kind", *kind)])),
            closed: Counts::default(),
            hops: Durations::of_hops(),
            answers: Durations::of_waits(),
        }))
    }

    /// Counts a socket as open until the guard is dropped.
    pub fn open(&self, kind: &'static str) -> LiveGuard {
        self.0.open.enter(&vec![("kind", kind)])
    }

    /// Counts a socket that has ended.
    pub fn closed(&self, kind: &'static str, cause: &CloseCause) {
        self.0.closed.add(&vec![("kind", kind), ("cause", word(cause))]);
    }

    /// Measures a signal that came from a peer and was acknowledged by the log.
    pub fn stored(&self, direction: Direction, took: Duration) {
        self.hop("store", direction, took);
    }

    /// Measures a signal from when the log had told it until the socket of a peer took it.
    pub(crate) fn told(&self, direction: Direction, took: Duration) {
        self.hop("tell", direction, took);
    }

    fn hop(&self, hop: &'static str, direction: Direction, took: Duration) {
        let direction = match direction {
            Direction::ToClient => "to_client",
            Direction::ToInstance => "to_instance",
        };
        self.0.hops.observe(&vec![("hop", hop), ("direction", direction)], took);
    }

    /// Measures how long it takes, from now on, until the first answer passes the socket of a
    /// client: its own or that of its instance, whichever made no offer. Users of ADB and instances
    /// are no clients.
    pub(crate) fn wait_for_answer(&self, peer: &SignalPeer, direction: Direction) -> AnswerWait {
        let is_client = peer.share.is_none() && direction == Direction::ToInstance;
        let left = if is_client { LOOKED_AT } else { 0 };
        AnswerWait { metrics: self.clone(), begun: Instant::now(), left }
    }
}

impl Collect for SocketMetrics {
    fn collect(&self, exposition: &mut Exposition) {
        let Figures { open, closed, hops, answers } = &*self.0;
        exposition.present("sockets_open", "WebSockets that are open", open);
        let help = "WebSockets that have ended, by who ended them and why";
        exposition.happened("sockets_closed", help, closed);
        let help = "Time of a signal in this unit: `store` until the log has it, `tell` from the \
            log to the socket";
        exposition.durations("signal_hop_duration_seconds", help, hops);
        let help = "Time from a client's socket to the first answer that passes it, behind which \
            the first frame comes; also of clients that do not tell of their frames";
        exposition.durations("client_answer_duration_seconds", help, answers);
    }
}

/// Looks for the first answer between a client and its instance.
pub(crate) struct AnswerWait {
    metrics: SocketMetrics,
    begun: Instant,
    /// How many more signals are looked at.
    left: u32,
}

impl AnswerWait {
    pub(crate) fn observe(&mut self, signal: &Signal) {
        if self.left == 0 {
            return;
        }
        self.left -= 1;
        if signal.is_answer() {
            self.left = 0;
            self.metrics.0.answers.observe(&Vec::new(), self.begun.elapsed());
        }
    }
}

/// Returns why a socket ended, for the label of a metric.
fn word(cause: &CloseCause) -> &'static str {
    match cause {
        CloseCause::PeerClosed => "peer_closed",
        CloseCause::PeerTimedOut => "peer_silent",
        CloseCause::ByUs { close, .. } => match close {
            CloseCode::Normal => "session_ended",
            CloseCode::Restart => "unit_restarts",
            CloseCode::Policy => "not_allowed",
            CloseCode::Size => "too_large",
            CloseCode::Protocol | CloseCode::Unsupported => "malformed",
            _ => "failed",
        },
    }
}

#[cfg(test)]
mod tests {
    use stream_metrics::Format;
    use stream_protocol::SessionId;

    use super::*;

    fn text(metrics: &SocketMetrics) -> String {
        let mut exposition = Exposition::new("p");
        metrics.collect(&mut exposition);
        exposition.text(Format::Text)
    }

    #[test]
    fn the_first_answer_at_the_socket_of_a_client_is_measured_and_nothing_else() {
        let metrics = SocketMetrics::new(&["client"]);
        let peer = SignalPeer::from(&SessionId::random());
        let signal = |kind: &str| Signal::parse(format!(r#"{{"type":"{kind}"}}"#)).unwrap();
        let mut client = metrics.wait_for_answer(&peer, Direction::ToInstance);
        let mut instance = metrics.wait_for_answer(&peer, Direction::ToClient);
        for kind in ["candidate", "answer", "answer"] {
            client.observe(&signal(kind));
            instance.observe(&signal(kind));
        }
        assert!(text(&metrics).contains("p_client_answer_duration_seconds_count{} 1\n"));
    }

    #[test]
    fn a_socket_is_open_until_it_ends_and_its_end_has_a_cause() {
        let metrics = SocketMetrics::new(&["client", "adb"]);
        let open = metrics.open("client");
        assert!(text(&metrics).contains(r#"p_sockets_open{kind="client"} 1"#));
        drop(open);
        metrics.closed("client", &CloseCause::PeerTimedOut);
        metrics.closed("client", &CloseCause::client_error(CloseCode::Policy, "secret words"));
        let text = text(&metrics);
        for line in [
            r#"p_sockets_open{kind="client"} 0"#,
            r#"p_sockets_open{kind="adb"} 0"#,
            r#"p_sockets_closed_total{kind="client",cause="peer_silent"} 1"#,
            r#"p_sockets_closed_total{kind="client",cause="not_allowed"} 1"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("secret"), "{text}");
    }
}
