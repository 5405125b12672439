//! The text of one scrape: made anew each time, so that what is gone is not reported any more.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::{HttpMetrics, Labels};

/// The content type of [`Exposition::text`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The metrics of one scrape.
pub struct Exposition(Registry);

impl Exposition {
    /// Makes an empty exposition; all its names begin with `prefix` and an underscore.
    pub fn new(prefix: &str) -> Self {
        Self(Registry::with_prefix(prefix))
    }

    /// Adds the metrics of HTTP requests and TLS handshakes.
    pub fn requests(&mut self, requests: &HttpMetrics) {
        requests.register(&mut self.0);
    }

    /// Adds a gauge without labels.
    pub fn count(&mut self, name: &'static str, help: &'static str, count: u64) {
        let gauge = Gauge::<u64, AtomicU64>::default();
        gauge.set(count);
        self.0.register(name, help, gauge);
    }

    /// Adds a gauge with a value for each value of one label.
    pub fn counts(
        &mut self,
        name: &'static str,
        help: &'static str,
        label: &'static str,
        counts: impl IntoIterator<Item = (String, u64)>,
    ) {
        self.gauges(name, help, counts.into_iter().map(|(value, n)| (vec![(label, value)], n)));
    }

    /// Returns the text as Prometheus reads it (OpenMetrics 1.0).
    pub fn text(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.0).expect("a string takes all text");
        text
    }

    /// Adds a gauge with a value per set of labels.
    pub fn gauges(
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

    /// Adds a counter with a value per set of labels.
    pub fn counters(
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
