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
//! HTTP/1.1 only: actix's HTTP/2 bounds neither streams nor header lists.

mod actor_metrics;
mod auth;
mod body;
mod connection;
mod connection_limit;
mod endpoint;
mod error;
mod idempotency;
mod limits;
#[doc(hidden)]
pub mod macro_support;
mod method;
mod middleware;
pub mod openapi;
mod rate_limit;
pub mod response;
mod scrape;
mod screen;
mod server;

pub use actor_metrics::export_actors;
pub use auth::{MAX_TOKEN_BYTES, authorization, parse_authorization};
pub use body::{parse_json, read_body, without_byte_order_mark};
pub use connection::ConnectionCloser;
pub use connection_limit::ConnectionLimiter;
pub use error::HttpError;
pub use idempotency::{MAX_IDEMPOTENCY_KEY, idempotency_key};
pub use limits::Limits;
pub use method::method_not_allowed;
pub use rate_limit::RateLimiter;
pub use scrape::scrape_response;
pub use screen::ScreenRequest;
pub use server::{Config, Routes, Server, Service};
