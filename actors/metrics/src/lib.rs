//! What both services count, and the page on which Prometheus finds it.
//!
//! Asked by `api` and `gateway` on every request ([`Requests`]) and on every scrape ([`Page`]);
//! asks nobody. There is no actor and no state but counters, which live as long as the process.
//! No label ever holds what a client sent: neither a session, nor an address, nor a path.

mod page;
mod requests;

pub use page::{CONTENT_TYPE, Page};
pub use requests::{Request, Requests};

/// Labels and their values.
type Labels = Vec<(&'static str, String)>;
