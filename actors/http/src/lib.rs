//! The HTTPS edge that the agent's API and the gateway share: one server, one reading of tokens and
//! bodies, one envelope, one table of endpoints.
//!
//! Used by `api` and `gateway`, which add their endpoints and decide nothing here; asks nobody. The
//! actor of a [`Server`] carries the name its service gives it.
//!
//! | part | on restart | why |
//! |---|---|---|
//! | listening socket | kept | clients that connect meanwhile wait in its queue, none is refused |
//! | running server with its connections | kept | a restart cuts off no request and no socket |
//! | server that ended by itself | rebuilt | the next one accepts on the kept socket |
//! | counts of requests, rates, connections | kept | they belong to clients, not to the actor |
//!
//! A connection passes `acceptor` (its place, whose it is, its handshake), which asks `admission`;
//! from then on `activity` bounds each of its steps.
//!
//! HTTP/1.1 only: actix's HTTP/2 bounds neither streams nor header lists.

mod acceptor;
mod access_log;
mod activity;
mod actor_metrics;
mod admission;
mod auth;
mod body;
mod client_address;
mod connection;
mod dependencies;
mod dependency_metrics;
mod endpoint;
mod error;
#[doc(hidden)]
pub mod fuzzing;
pub mod health;
mod idempotency;
mod limits;
#[doc(hidden)]
pub mod macro_support;
mod method;
mod middleware;
pub mod openapi;
mod poll_limit;
mod proxy_header;
mod rate_limit;
mod refusals;
mod resources;
pub mod response;
mod route;
mod scrape;
mod screen;
mod server;

pub use access_log::{ACCESS_LOG, note_token};
pub use actor_metrics::export_actors;
pub use auth::{MAX_TOKEN_BYTES, authorization, parse_authorization};
pub use body::{parse_json, parse_json_list, read_body, without_byte_order_mark};
pub use client_address::client_address;
pub use connection::ConnectionCloser;
pub use dependencies::{Dependencies, LatestDependencies, PROBE_TIMEOUT};
pub use dependency_metrics::export_dependencies;
pub use error::HttpError;
pub use idempotency::{MAX_IDEMPOTENCY_KEY, idempotency_key};
pub use limits::{HttpConfig, Limits, Network};
pub use method::method_not_allowed;
pub use middleware::TrailingSlash;
pub use poll_limit::{PollLimit, PollPlace};
pub use rate_limit::RateLimiter;
pub use refusals::Refusals;
pub use route::note_route;
pub use scrape::scrape_response;
pub use screen::ScreenRequest;
pub use server::{Config, Routes, Server, Service};
