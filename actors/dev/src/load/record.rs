//! What happened: how long each hop took, and what failed at which.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde::Serialize;

/// More are counted and not kept.
const MOST_SAMPLES: usize = 2_000_000;

/// Causes of failures at one hop; more are one.
const MOST_CAUSES: usize = 20;

/// What a client waits for.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Hop {
    /// `POST /1.0/sessions` is answered.
    Create,
    /// The signaling socket is open.
    Socket,
    /// The instance has answered for the first time, its boot included.
    FirstSignal,
    /// The instance has answered again: through gateway, NATS and agent, and back.
    Signal,
    /// The socket is open again.
    Resume,
    /// Media flows, counted from the request.
    Connected,
    /// The first picture is there, counted from the request.
    FirstPicture,
    /// `DELETE /1.0/sessions/ID` is answered.
    Delete,
}

impl Hop {
    pub(super) const ALL: [Self; 8] = [
        Self::Create,
        Self::Socket,
        Self::FirstSignal,
        Self::Signal,
        Self::Resume,
        Self::Connected,
        Self::FirstPicture,
        Self::Delete,
    ];

    /// Those that --bound is about: what they take is ours alone.
    pub(super) const BOUND: [Self; 2] = [Self::Create, Self::Signal];
}

impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Create => "create",
            Self::Socket => "socket open",
            Self::FirstSignal => "first answer",
            Self::Signal => "signal and answer",
            Self::Resume => "resume",
            Self::Connected => "connected",
            Self::FirstPicture => "first picture",
            Self::Delete => "delete",
        })
    }
}

/// One hop of one session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) hop: Hop,
    /// When it was over, since the run began.
    pub(super) at: Duration,
    pub(super) took: Duration,
}

/// How many sessions are where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Counts {
    pub(super) begun: u32,
    pub(super) live: u32,
    pub(super) done: u32,
    pub(super) failed: u32,
}

/// A cause, at the hop that it kept from being reached.
pub(super) type Failure = (Hop, String);

#[derive(Clone)]
pub(super) struct Record(Rc<RefCell<Inner>>);

struct Inner {
    begun: Instant,
    samples: Vec<Sample>,
    dropped: u64,
    failures: BTreeMap<Failure, u64>,
    counts: Counts,
}

impl Record {
    pub(super) fn begin() -> Self {
        Self(Rc::new(RefCell::new(Inner {
            begun: Instant::now(),
            samples: Vec::new(),
            dropped: 0,
            failures: BTreeMap::new(),
            counts: Counts::default(),
        })))
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.0.borrow().begun.elapsed()
    }

    /// Notes that `hop`, for which somebody has waited since `since`, is reached now.
    pub(super) fn reached(&self, hop: Hop, since: Instant) {
        let mut inner = self.0.borrow_mut();
        let sample = Sample { hop, at: inner.begun.elapsed(), took: since.elapsed() };
        match inner.samples.len() < MOST_SAMPLES {
            true => inner.samples.push(sample),
            false => inner.dropped += 1,
        }
    }

    pub(super) fn session_begins(&self) {
        let counts = &mut self.0.borrow_mut().counts;
        counts.begun += 1;
        counts.live += 1;
    }

    pub(super) fn session_ends(&self, ended: Result<(), Failure>) {
        let mut inner = self.0.borrow_mut();
        inner.counts.live -= 1;
        let Err((hop, cause)) = ended else {
            inner.counts.done += 1;
            return;
        };
        inner.counts.failed += 1;
        let causes = inner.failures.range((hop, String::new())..);
        let known = inner.failures.contains_key(&(hop, cause.clone()));
        let full = causes.take_while(|((at, _), _)| *at == hop).count() >= MOST_CAUSES;
        let cause = if full && !known { "other causes".to_owned() } else { cause };
        *inner.failures.entry((hop, cause)).or_default() += 1;
    }

    pub(super) fn counts(&self) -> Counts {
        self.0.borrow().counts
    }

    /// Samples that were not kept, because there were too many.
    pub(super) fn dropped(&self) -> u64 {
        self.0.borrow().dropped
    }

    pub(super) fn failures(&self) -> Vec<(Failure, u64)> {
        self.0.borrow().failures.iter().map(|(failure, count)| (failure.clone(), *count)).collect()
    }

    /// Returns what `look` makes of all samples.
    pub(super) fn samples<T>(&self, look: impl FnOnce(&[Sample]) -> T) -> T {
        look(&self.0.borrow().samples)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_counted_by_cause_and_never_without_bound() {
        let record = Record::begin();
        for n in 0..100 {
            record.session_begins();
            record.session_ends(Err((Hop::Socket, format!("cause {}", n % 50))));
        }
        record.session_begins();
        record.session_ends(Err((Hop::Create, "refused".to_owned())));
        let failures = record.failures();
        assert_eq!(failures.iter().map(|(_, count)| count).sum::<u64>(), 101);
        assert_eq!(failures.len(), MOST_CAUSES + 2);
        assert_eq!(record.counts(), Counts { begun: 101, live: 0, done: 0, failed: 101 });
    }
}
