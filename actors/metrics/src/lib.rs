//! What both services count, and the page on which Prometheus finds it.
//!
//! Asked by `api` and `gateway` on every request ([`HttpMetrics`]) and on every scrape
//! ([`Exposition`]); asks nobody. There is no actor and no state but counters, which live as long
//! as the process. No label ever holds what a client sent: neither a session, nor an address, nor
//! a path.

mod exposition;
mod http;

pub use exposition::{CONTENT_TYPE, Exposition};
pub use http::{HttpMetrics, RequestTimer};

/// Labels and their values.
pub type Labels = Vec<(&'static str, String)>;
