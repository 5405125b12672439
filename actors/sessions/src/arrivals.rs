//! Which instances have reached this agent, and whom it has not understood: what there is to say of
//! one that does not get ready in time. A restart of the unit forgets it.

use std::collections::{HashMap, VecDeque};
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use stream_protocol::SessionId;
use tokio::time::Instant;

/// So many handshakes are remembered; a stranger who fails again and again pushes out its own.
const MAX_HANDSHAKES: usize = 256;

/// The most characters kept of why one failed.
const MAX_CAUSE_CHARS: usize = 120;

/// How many sessions are looked after at a time: far more than an agent has that boot.
const MAX_SESSIONS: usize = 65_536;

/// What has come to the door of this agent. Clones share it.
#[derive(Clone, Default)]
pub struct Arrivals(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// Sessions that are launched here, until their instance is there or they end.
    awaited: HashMap<SessionId, Awaited>,
    failed: VecDeque<(Instant, String)>,
}

struct Awaited {
    since: Instant,
    has_come: bool,
}

impl Arrivals {
    /// Notes that the instance of `session` has asked this agent for something, with its token.
    pub fn note_instance(&self, session: &SessionId) {
        if let Some(awaited) = self.0.lock().awaited.get_mut(session) {
            awaited.has_come = true;
        }
    }

    /// Notes that somebody came and a TLS connection did not come about.
    pub fn note_failed_handshake(&self, why: &impl Display) {
        let why = why.to_string().chars().take(MAX_CAUSE_CHARS).collect();
        let failed = &mut self.0.lock().failed;
        if failed.len() >= MAX_HANDSHAKES {
            failed.pop_front();
        }
        failed.push_back((Instant::now(), why));
    }

    /// Begins to wait for the instance of `session`.
    pub(crate) fn await_instance(&self, session: &SessionId) {
        let awaited = &mut self.0.lock().awaited;
        if awaited.len() < MAX_SESSIONS {
            let fresh = || Awaited { since: Instant::now(), has_come: false };
            awaited.entry(session.clone()).or_insert_with(fresh);
        }
    }

    /// Waits for the instance of `session` no more.
    pub(crate) fn forget(&self, session: &SessionId) {
        self.0.lock().awaited.remove(session);
    }

    /// Tells what has come of the instance of `session`, as far as this unit knows: nothing of one
    /// that it did not launch.
    pub(crate) fn tell(&self, session: &SessionId) -> Option<String> {
        let state = self.0.lock();
        let Awaited { since, has_come } = state.awaited.get(session)?;
        if *has_come {
            return Some("it has reached this agent and never said that it runs".to_owned());
        }
        let failed = state.failed.iter().filter(|(at, _)| at >= since);
        let (count, last) = failed.fold((0, ""), |(count, _), (_, why)| (count + 1, why));
        let silent = "it has not reached this agent";
        Some(match count {
            0 => silent.to_owned(),
            _ => format!(
                "{silent}, where {count} TLS handshakes failed in these {} s, \
                 the last one by: {last}",
                since.elapsed().max(Duration::from_secs(1)).as_secs()
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_of_an_instance_is_told_with_the_handshakes_that_failed_meanwhile() {
        let (arrivals, session) = (Arrivals::default(), SessionId::random());
        arrivals.note_failed_handshake(&"too early");
        assert_eq!(arrivals.tell(&session), None);
        arrivals.await_instance(&session);
        let told = || arrivals.tell(&session).unwrap_or_default();
        assert_eq!(told(), "it has not reached this agent");
        arrivals.note_failed_handshake(&"received fatal alert: BadCertificate");
        arrivals.note_failed_handshake(&"received fatal alert: CertificateExpired");
        assert!(told().contains("where 2 TLS handshakes failed"), "{}", told());
        assert!(told().ends_with("by: received fatal alert: CertificateExpired"), "{}", told());
        arrivals.note_instance(&session);
        assert!(told().contains("never said"), "{}", told());
        arrivals.forget(&session);
        assert_eq!(arrivals.tell(&session), None);
    }

    #[test]
    fn strangers_fill_nothing() {
        let arrivals = Arrivals::default();
        for n in 0..3 * MAX_HANDSHAKES {
            arrivals.note_failed_handshake(&"x".repeat(n));
        }
        let state = arrivals.0.lock();
        assert_eq!(state.failed.len(), MAX_HANDSHAKES);
        assert!(state.failed.iter().all(|(_, why)| why.len() <= MAX_CAUSE_CHARS));
    }
}
