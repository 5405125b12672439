//! The text of one scrape: made anew each time, so that what is gone is not reported any more.

use std::collections::HashSet;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::{HttpMetrics, Labels};

/// How metrics are written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// The text format 0.0.4 of Prometheus, which everything reads.
    Text,
}

impl Format {
    /// Returns the content type of a text in this format.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

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

    /// Returns the text as Prometheus reads it.
    pub fn text(&self, format: Format) -> String {
        let mut text = String::new();
        encode(&mut text, &self.0).expect("a string takes all text");
        match format {
            Format::OpenMetrics => text,
            Format::Text => to_text_format(&text),
        }
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

/// Rewrites OpenMetrics: the text format names a counter by its samples, and has no end mark.
fn to_text_format(open_metrics: &str) -> String {
    let counters: HashSet<_> = open_metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter"))
        .collect();
    let mut text = String::with_capacity(open_metrics.len());
    for line in open_metrics.lines().filter(|line| *line != "# EOF") {
        let mut words = line.splitn(4, ' ');
        let words = [words.next(), words.next(), words.next(), words.next()];
        match words {
            [Some("#"), Some(kind), Some(name), Some(rest)] if counters.contains(name) => {
                text.extend(["# ", kind, " ", name, "_total ", rest]);
            }
            _ => text.push_str(line),
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_format_names_a_counter_by_its_samples_and_has_no_end_mark() {
        let mut page = Exposition::new("p");
        page.counters("knocks", "Knocks", [(vec![("door", "a b".to_owned())], 3)]);
        page.count("doors_total", "Doors", 1);
        let text = page.text(Format::Text);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "# HELP p_knocks_total Knocks.",
                "# TYPE p_knocks_total counter",
                r#"p_knocks_total{door="a b"} 3"#,
                "# HELP p_doors_total Doors.",
                "# TYPE p_doors_total gauge",
                "p_doors_total 1",
            ]
        );
        let open = page.text(Format::OpenMetrics);
        assert!(open.contains("# TYPE p_knocks counter\n") && open.ends_with("# EOF\n"), "{open}");
    }

    #[test]
    fn counts_stand_with_their_labels_and_the_prefix() {
        let mut page = Exposition::new("our_house");
        page.counts("rooms_total", "Rooms", "state", [("empty".into(), 2), ("full".into(), 0)]);
        page.count("doors_total", "Doors", 1);
        let text = page.text(Format::OpenMetrics);
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
        assert!(!page.text(Format::Text).lines().any(|line| line.starts_with("forged")));
    }
}
