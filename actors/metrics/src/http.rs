//! Metrics of HTTP requests, and of the TLS handshakes that come before them.

use std::time::Instant;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::Labels;

/// Upper bounds of request durations in seconds; the last ones are for long polls.
const DURATIONS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 60.0];

/// Upper bounds of body sizes in bytes.
const SIZES: [f64; 7] = [0.0, 256.0, 1024.0, 4096.0, 16_384.0, 65_536.0, 262_144.0];

/// The methods reported by name: a client may send any word.
const METHODS: [&str; 7] = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"];

type Histograms = Family<Labels, Histogram, fn() -> Histogram>;

/// The metrics of one service; clones count together.
#[derive(Clone)]
pub struct HttpMetrics {
    full_handshakes: Counter,
    resumed_handshakes: Counter,
    in_flight: Gauge,
    answered: Family<Labels, Counter>,
    refused_connections: Family<Labels, Counter>,
    refused_requests: Family<Labels, Counter>,
    durations: Histograms,
    request_sizes: Histograms,
    response_sizes: Histograms,
}

impl Default for HttpMetrics {
    fn default() -> Self {
        let sizes: fn() -> Histogram = || Histogram::new(SIZES);
        Self {
            full_handshakes: Counter::default(),
            resumed_handshakes: Counter::default(),
            in_flight: Gauge::default(),
            answered: Family::default(),
            refused_connections: Family::default(),
            refused_requests: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(DURATIONS)),
            request_sizes: Family::new_with_constructor(sizes),
            response_sizes: Family::new_with_constructor(sizes),
        }
    }
}

impl HttpMetrics {
    /// Counts a TLS handshake that has succeeded.
    pub fn handshake(&self, resumed: bool) {
        if resumed { &self.resumed_handshakes } else { &self.full_handshakes }.inc();
    }

    /// Returns how many TLS handshakes have succeeded.
    pub fn handshakes(&self) -> u64 {
        self.full_handshakes.get() + self.resumed_handshakes.get()
    }

    /// Counts a connection that is refused, or ended before its time, for `cause`, a word of ours.
    pub fn refused_connection(&self, cause: &'static str) {
        count(&self.refused_connections, cause);
    }

    /// Counts a request that is refused for `cause`, a word of ours.
    pub fn refused_request(&self, cause: &'static str) {
        count(&self.refused_requests, cause);
    }

    /// Counts a request as in flight until the timer is finished or dropped.
    pub fn start(&self) -> RequestTimer {
        self.in_flight.inc();
        RequestTimer { counts: self.clone(), begun: Instant::now() }
    }

    pub(crate) fn register(&self, registry: &mut Registry) {
        let Self { in_flight, answered, durations, request_sizes, response_sizes, .. } =
            self.clone();
        let Self { refused_connections, refused_requests, .. } = self.clone();
        let handshakes = Family::<Labels, Counter>::default();
        for (kind, counted) in
            [("full", &self.full_handshakes), ("resumed", &self.resumed_handshakes)]
        {
            let labels = vec![("kind", kind.to_owned())];
            handshakes.get_or_create_owned(&labels).inc_by(counted.get());
        }
        registry.register("tls_handshakes", "TLS handshakes that succeeded", handshakes);
        registry.register("http_in_flight_requests", "Requests being answered", in_flight);
        registry.register("http_requests", "Requests answered", answered);
        let help = "Connections refused or ended before their time";
        registry.register("http_refused_connections", help, refused_connections);
        registry.register(
            "http_refused_requests",
            "Requests refused at the door",
            refused_requests,
        );
        registry.register("http_request_duration_seconds", "Time to the answer", durations);
        registry.register("http_request_size_bytes", "Bodies of requests", request_sizes);
        registry.register("http_response_size_bytes", "Bodies of answers", response_sizes);
    }
}

fn count(family: &Family<Labels, Counter>, cause: &'static str) {
    family.get_or_create_owned(&vec![("cause", cause.to_owned())]).inc();
}

/// Measures a request in flight.
pub struct RequestTimer {
    counts: HttpMetrics,
    begun: Instant,
}

impl RequestTimer {
    /// Counts the answer. `handler` and `host` are words of ours, never what the client sent;
    /// `sizes` are those of the bodies of request and answer in bytes, where they are known.
    pub fn finish(
        self,
        handler: &str,
        host: &str,
        method: &str,
        status: u16,
        sizes: (Option<u64>, Option<u64>),
    ) {
        let method = METHODS.into_iter().find(|known| *known == method).unwrap_or("other");
        let (handler, host) = (handler.to_owned(), host.to_owned());
        let mut labels: Labels =
            vec![("handler", handler), ("host", host), ("method", method.into())];
        let HttpMetrics { durations, request_sizes, response_sizes, answered, .. } = &self.counts;
        durations.get_or_create_owned(&labels).observe(self.begun.elapsed().as_secs_f64());
        for (family, size) in [(request_sizes, sizes.0), (response_sizes, sizes.1)] {
            if let Some(size) = size {
                family.get_or_create_owned(&labels).observe(size as f64);
            }
        }
        labels.push(("code", format!("{}xx", status / 100)));
        answered.get_or_create_owned(&labels).inc();
    }
}

impl Drop for RequestTimer {
    fn drop(&mut self) {
        self.counts.in_flight.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Exposition;

    fn told(requests: &HttpMetrics) -> String {
        let mut page = Exposition::new("p");
        page.requests(requests);
        page.text(crate::Format::Text)
    }

    #[test]
    fn an_answer_is_counted_by_handler_method_and_class_of_status() {
        let requests = HttpMetrics::default();
        requests.start().finish("get_session", "h", "GET", 404, (None, Some(90)));
        requests.start().finish("get_session", "h", "GET", 403, (None, None));
        let text = told(&requests);
        let labels = r#"handler="get_session",host="h",method="GET""#;
        for line in [
            format!(r#"p_http_requests_total{{{labels},code="4xx"}} 2"#),
            format!(r#"p_http_request_duration_seconds_bucket{{le="60.0",{labels}}} 2"#),
            format!(r#"p_http_response_size_bytes_bucket{{le="256.0",{labels}}} 1"#),
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn handshakes_are_counted_by_kind_and_told_also_when_there_was_none() {
        let requests = HttpMetrics::default();
        requests.handshake(true);
        requests.clone().handshake(true);
        let text = told(&requests);
        for line in [
            r#"p_tls_handshakes_total{kind="full"} 0"#,
            r#"p_tls_handshakes_total{kind="resumed"} 2"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn a_request_is_in_flight_until_it_is_answered_or_given_up() {
        let requests = HttpMetrics::default();
        let (first, second) = (requests.start(), requests.start());
        assert!(told(&requests).contains("p_http_in_flight_requests 2"));
        first.finish("x", "h", "GET", 200, (None, None));
        drop(second);
        assert!(told(&requests).contains("p_http_in_flight_requests 0"));
    }

    #[test]
    fn a_word_that_a_client_made_up_is_no_label() {
        let requests = HttpMetrics::default();
        requests.start().finish("x", "h", "SECRET", 405, (None, None));
        let text = told(&requests);
        assert!(text.contains(r#"method="other""#) && !text.contains("SECRET"), "{text}");
    }
}
