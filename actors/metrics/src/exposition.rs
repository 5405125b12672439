//! The text of one scrape: made anew each time, so that what has gone is not told any more.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use stream_supervisor::{ActorStatus, Failures};

use crate::{HttpMetrics, Labels};

/// The content type of [`Exposition::text`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What is told in one scrape.
pub struct Exposition(Registry);

impl Exposition {
    /// An empty page; all names on it begin with `prefix` and an underscore.
    pub fn new(prefix: &str) -> Self {
        Self(Registry::with_prefix(prefix))
    }

    /// Tells how the actors are.
    pub fn actors(&mut self, actors: &[ActorStatus]) {
        let label = |actor: &ActorStatus| vec![("actor", path(actor))];
        let state = |actor: &ActorStatus| {
            let state = format!("{:?}", actor.state).to_lowercase();
            (vec![("actor", path(actor)), ("state", state)], 1)
        };
        self.gauges("actor_state", "The state an actor is in", actors.iter().map(state));
        let mut gauges = |name, help, value: fn(&ActorStatus) -> u64| {
            self.gauges(name, help, actors.iter().map(|actor| (label(actor), value(actor))));
        };
        gauges("actor_depth", "Messages queued or in work", |actor| actor.depth as u64);
        gauges("actor_depth_high_water", "The most messages there ever were", |actor| {
            actor.high_water as u64
        });
        gauges("actor_capacity", "Messages an actor takes before it refuses", |actor| {
            actor.capacity as u64
        });
        gauges("actor_uptime_seconds", "Since the state was last built", |actor| actor.uptime);
        let failures = actors.iter().flat_map(|actor| {
            let Failures { panics, deadlines, errors } = actor.failures;
            let kinds = [("panic", panics), ("deadline", deadlines), ("error", errors)];
            kinds.map(|(kind, n)| (vec![("actor", path(actor)), ("kind", kind.to_owned())], n))
        });
        self.counters("actor_failures", "How often an actor failed", failures);
        let mut counters = |name, help, value: fn(&ActorStatus) -> u64| {
            self.counters(name, help, actors.iter().map(|actor| (label(actor), value(actor))));
        };
        counters("actor_restarts", "How often the state was rebuilt", |actor| actor.restarts);
        counters("actor_refused", "Messages refused as one too many", |actor| actor.refused);
    }

    /// Tells what was asked of us over HTTPS.
    pub fn requests(&mut self, requests: &HttpMetrics) {
        requests.register(&mut self.0);
    }

    /// Tells how many there are of something.
    pub fn count(&mut self, name: &'static str, help: &'static str, count: u64) {
        let gauge = Gauge::<u64, AtomicU64>::default();
        gauge.set(count);
        self.0.register(name, help, gauge);
    }

    /// Tells how many there are of something, by the values of one label.
    pub fn counts(
        &mut self,
        name: &'static str,
        help: &'static str,
        label: &'static str,
        counts: impl IntoIterator<Item = (String, u64)>,
    ) {
        self.gauges(name, help, counts.into_iter().map(|(value, n)| (vec![(label, value)], n)));
    }

    /// The page as Prometheus reads it.
    pub fn text(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.0).expect("a string takes all text");
        text
    }

    fn gauges(
        &mut self,
        name: &'static str,
        help: &'static str,
        values: impl IntoIterator<Item = (Labels, u64)>,
    ) {
        let family = Family::<Labels, Gauge<u64, AtomicU64>>::default();
        for (labels, value) in values {
            family.get_or_create_owned(&labels).set(value);
        }
        self.0.register(name, help, family);
    }

    fn counters(
        &mut self,
        name: &'static str,
        help: &'static str,
        values: impl IntoIterator<Item = (Labels, u64)>,
    ) {
        let family = Family::<Labels, Counter>::default();
        for (labels, value) in values {
            family.get_or_create_owned(&labels).inc_by(value);
        }
        self.0.register(name, help, family);
    }
}

/// The name of an actor with the groups it is in.
fn path(actor: &ActorStatus) -> String {
    match actor.group.as_str() {
        "" => actor.name.to_owned(),
        group => format!("{group}/{}", actor.name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_stand_with_their_labels_and_the_prefix() {
        let mut page = Exposition::new("our_house");
        page.counts("rooms_total", "Rooms", "state", [("empty".into(), 2), ("full".into(), 0)]);
        page.count("doors_total", "Doors", 1);
        let text = page.text();
        for line in [
            "# TYPE our_house_rooms_total gauge",
            r#"our_house_rooms_total{state="empty"} 2"#,
            r#"our_house_rooms_total{state="full"} 0"#,
            "our_house_doors_total 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"), "{text}");
    }

    #[test]
    fn a_value_cannot_break_out_of_its_label() {
        let mut page = Exposition::new("p");
        page.counts("n", "N", "name", [("a\"} 7\nforged 1".into(), 1)]);
        assert!(!page.text().lines().any(|line| line.starts_with("forged")));
    }
}
