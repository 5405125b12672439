//! What parts of a service count and measure, in series that live as long as the process.
//!
//! The values of all labels are words of ours, which the types see to: what a client sent, a
//! session, an address or a path can be none.

use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// The labels of a series, each with a word of ours.
pub type Words = Vec<(&'static str, &'static str)>;

/// Upper bounds in seconds for what a dependency takes: a good answer takes a few milliseconds, the
/// longest deadline is half a minute.
const CALLS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0, 30.0];

/// Upper bounds in seconds for what a signal takes from one hop to the next.
const HOPS: [f64; 10] = [0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05, 0.25, 1.0, 5.0];

/// Upper bounds in seconds for what a person waits for: a boot, the begin of a stream.
const WAITS: [f64; 12] = [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 120.0, 240.0, 480.0];

/// Upper bounds in seconds for a first frame: under a second nobody waits, and after a minute few
/// still do.
const FIRST_FRAMES: [f64; 12] = [0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0];

type Histograms = Family<Words, Histogram, fn() -> Histogram>;

/// How long something took, in seconds; clones measure together.
#[derive(Clone)]
pub struct Durations(Histograms);

impl Durations {
    /// Measures calls of a dependency: from a millisecond to half a minute.
    pub fn of_calls() -> Self {
        Self(Family::new_with_constructor(|| Histogram::new(CALLS)))
    }

    /// Measures signals on their way: from a quarter of a millisecond to five seconds.
    pub fn of_hops() -> Self {
        Self(Family::new_with_constructor(|| Histogram::new(HOPS)))
    }

    /// Measures what people wait for: from a quarter of a second to eight minutes.
    pub fn of_waits() -> Self {
        Self(Family::new_with_constructor(|| Histogram::new(WAITS)))
    }

    /// Measures first frames: from a tenth of a second to a minute.
    pub fn of_first_frames() -> Self {
        Self(Family::new_with_constructor(|| Histogram::new(FIRST_FRAMES)))
    }

    /// Measures one more.
    pub fn observe(&self, labels: &Words, took: Duration) {
        self.0.get_or_create_owned(labels).observe(took.as_secs_f64());
    }

    /// Measures `work`, and labels it as a `call` with the `outcome` that its result has. `work` is
    /// boxed, for each layer around what is not has room for it twice.
    ///
    /// # Cancel safety
    ///
    /// What is given up before its end is not measured.
    pub async fn observe_call<T>(
        &self,
        call: &'static str,
        outcome: impl FnOnce(&T) -> &'static str,
        work: impl Future<Output = T> + Unpin,
    ) -> T {
        let begun = Instant::now();
        let done = work.await;
        self.observe(&vec![("call", call), ("outcome", outcome(&done))], begun.elapsed());
        done
    }

    pub(crate) fn register(&self, registry: &mut Registry, name: &'static str, help: &str) {
        registry.register(name, help, self.0.clone());
    }
}

/// How often something happened; clones count together.
#[derive(Clone, Default)]
pub struct Counts(Family<Words, Counter>);

impl Counts {
    /// Counts that start at zero for each of `all`: what never happened is told as well, and its
    /// first time is seen.
    pub fn of(all: impl IntoIterator<Item = Words>) -> Self {
        let counts = Self::default();
        for labels in all {
            counts.0.get_or_create_owned(&labels);
        }
        counts
    }

    /// Counts one more.
    pub fn add(&self, labels: &Words) {
        self.0.get_or_create_owned(labels).inc();
    }

    pub(crate) fn register(&self, registry: &mut Registry, name: &'static str, help: &str) {
        registry.register(name, help, self.0.clone());
    }
}

/// How many there are now; clones count together.
#[derive(Clone, Default)]
pub struct LiveCounts(Family<Words, Gauge>);

impl LiveCounts {
    /// Counts from zero for each of `all`.
    pub fn of(all: impl IntoIterator<Item = Words>) -> Self {
        let counts = Self::default();
        for labels in all {
            counts.0.get_or_create_owned(&labels);
        }
        counts
    }

    /// Counts one more until the guard is dropped.
    pub fn enter(&self, labels: &Words) -> LiveGuard {
        let gauge = self.0.get_or_create_owned(labels);
        gauge.inc();
        LiveGuard(gauge)
    }

    pub(crate) fn register(&self, registry: &mut Registry, name: &'static str, help: &str) {
        registry.register(name, help, self.0.clone());
    }
}

/// One that is there.
pub struct LiveGuard(Gauge);

impl Drop for LiveGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;
    use crate::{Exposition, Format};

    fn text(add: impl FnOnce(&mut Exposition)) -> String {
        let mut exposition = Exposition::new("p");
        add(&mut exposition);
        exposition.text(Format::Text)
    }

    #[test]
    fn a_call_is_measured_with_its_outcome() {
        let calls = Durations::of_calls();
        let outcome = |done: &Result<(), ()>| if done.is_ok() { "ok" } else { "timed_out" };
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            for done in [Ok(()), Ok(()), Err(())] {
                calls.observe_call("read", outcome, ready(done)).await.unwrap_or_default();
            }
        });
        let told = text(|exposition| {
            exposition.durations("call_duration_seconds", "Calls", &calls);
        });
        for line in [
            r#"p_call_duration_seconds_count{call="read",outcome="ok"} 2"#,
            r#"p_call_duration_seconds_count{call="read",outcome="timed_out"} 1"#,
        ] {
            assert!(told.lines().any(|found| found == line), "{line} is not in\n{told}");
        }
    }

    #[test]
    fn what_never_happened_is_told_as_zero() {
        let counts = Counts::of([vec![("cause", "gap")], vec![("cause", "gone")]]);
        counts.add(&vec![("cause", "gone")]);
        let told = text(|exposition| exposition.happened("losses", "Losses", &counts));
        assert!(told.contains(r#"p_losses_total{cause="gap"} 0"#), "{told}");
        assert!(told.contains(r#"p_losses_total{cause="gone"} 1"#), "{told}");
    }

    #[test]
    fn what_is_there_counts_until_it_is_dropped() {
        let sockets = LiveCounts::of([vec![("kind", "client")]]);
        let (one, two) =
            (sockets.enter(&vec![("kind", "client")]), sockets.enter(&vec![("kind", "client")]));
        let told =
            || text(|exposition| exposition.present("sockets", "Sockets that are open", &sockets));
        assert!(told().contains(r#"p_sockets{kind="client"} 2"#));
        drop((one, two));
        assert!(told().contains(r#"p_sockets{kind="client"} 0"#));
    }
}
