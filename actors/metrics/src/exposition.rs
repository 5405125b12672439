//! The text of one scrape: made anew each time, so that what is gone is not reported any more.

use std::collections::HashSet;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Metric, Registry};

use crate::{Counts, Durations, HttpMetrics, Labels, LiveCounts};

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

type Gauges = Family<Labels, Gauge<u64, AtomicU64>>;

/// The metrics of one scrape.
pub struct Exposition {
    registry: Registry,
    /// Those whose names have no prefix.
    of_process: Registry,
    certificates: Gauges,
    certificates_refused: Gauges,
}

impl Exposition {
    /// Makes an empty exposition; all its names begin with `prefix` and an underscore.
    pub fn new(prefix: &str) -> Self {
        let mut registry = Registry::with_prefix(prefix);
        let (certificates, certificates_refused) = (Gauges::default(), Gauges::default());
        let help = "When the first certificate in use for this ends to be valid, since 1970";
        registry.register("certificate_not_after_timestamp_seconds", help, certificates.clone());
        let help = "Whether the files on disk are not taken, and what was loaded before stays";
        registry.register("certificate_files_refused", help, certificates_refused.clone());
        Self { registry, of_process: Registry::default(), certificates, certificates_refused }
    }

    /// Adds the metrics of HTTP requests and TLS handshakes.
    pub fn requests(&mut self, requests: &HttpMetrics) {
        requests.register(&mut self.registry);
    }

    /// Adds a metric of the process, whose name has no prefix.
    pub(crate) fn of_process(&mut self, name: &str, help: &str, metric: impl Metric) {
        self.of_process.register(name, help, metric);
    }

    /// Adds a histogram of durations.
    pub fn durations(&mut self, name: &'static str, help: &'static str, durations: &Durations) {
        durations.register(&mut self.registry, name, help);
    }

    /// Adds a counter of what has happened.
    pub fn happened(&mut self, name: &'static str, help: &'static str, counts: &Counts) {
        counts.register(&mut self.registry, name, help);
    }

    /// Adds a gauge of what there is.
    pub fn present(&mut self, name: &'static str, help: &'static str, counts: &LiveCounts) {
        counts.register(&mut self.registry, name, help);
    }

    /// Adds when the certificates in use for `what` end to be valid, the first of them, in seconds
    /// since 1970.
    pub fn certificate(&mut self, what: &'static str, not_after: Option<u64>) {
        if let Some(not_after) = not_after {
            let labels = vec![("use", what.to_owned())];
            self.certificates.get_or_create_owned(&labels).set(not_after);
        }
    }

    /// Adds whether the files that hold the certificates for `what` are such as are not taken.
    pub fn certificate_files(&mut self, what: &'static str, are_refused: bool) {
        let labels = vec![("use", what.to_owned())];
        self.certificates_refused.get_or_create_owned(&labels).set(are_refused.into());
    }

    /// Adds a gauge without labels.
    pub fn count(&mut self, name: &'static str, help: &'static str, count: u64) {
        let gauge = Gauge::<u64, AtomicU64>::default();
        gauge.set(count);
        self.registry.register(name, help, gauge);
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
        let encoded = encode_registry(&mut text, &self.registry)
            .and_then(|()| encode_registry(&mut text, &self.of_process))
            .and_then(|()| encode_eof(&mut text));
        encoded.expect("a string takes all text");
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
        let family = Gauges::default();
        for (labels, value) in values {
            family.get_or_create_owned(&labels).set(value);
        }
        self.registry.register(name, help, family);
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
        self.registry.register(name, help, family);
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
    fn certificates_of_all_uses_are_one_metric() {
        let mut page = Exposition::new("p");
        page.certificate("server", Some(1_900_000_000));
        page.certificate("ams_client", Some(1_800_000_000));
        page.certificate("ams_authority", None);
        page.certificate_files("server", true);
        let text = page.text(Format::Text);
        assert_eq!(text.matches("# HELP").count(), 2, "{text}");
        let line = r#"p_certificate_not_after_timestamp_seconds{use="server"} 1900000000"#;
        assert!(text.contains(line), "{text}");
        assert!(text.contains(r#"p_certificate_files_refused{use="server"} 1"#), "{text}");
        assert!(!text.contains("ams_authority"), "{text}");
    }

    #[test]
    fn a_value_cannot_break_out_of_its_label() {
        let mut page = Exposition::new("p");
        page.counts("n", "N", "name", [("a\"} 7\nforged 1".into(), 1)]);
        assert!(!page.text(Format::Text).lines().any(|line| line.starts_with("forged")));
    }
}
