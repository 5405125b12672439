//! What [`endpoints!`](crate::endpoints) expands to.

pub use actix_web::http::Method;
pub use actix_web::web;

pub use crate::method::method_not_allowed;
