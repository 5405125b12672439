//! The metrics that both services keep, and the text in which Prometheus reads them.
//!
//! Both HTTPS services count every request ([`HttpMetrics`]) and make the text anew on every scrape
//! ([`Exposition`]), for which they ask all parts that have metrics ([`Collect`]). There is no
//! actor and no state but counters, which live as long as the process. No label ever holds what a
//! client sent: neither a session, nor an address, nor a path.

mod collect;
mod exposition;
mod http;
mod process;
mod series;

pub use collect::{Collect, Collectors};
pub use exposition::{Exposition, Format};
pub use http::{HttpMetrics, RequestTimer};
pub use process::Process;
pub use series::{Counts, Durations, LiveCounts, LiveGuard, Words};

/// The labels of a metric, each with its value.
pub type Labels = Vec<(&'static str, String)>;
