//! What [`endpoints!`](crate::endpoints) expands to.

pub use actix_web::Route;
pub use actix_web::web::ServiceConfig;

pub use crate::resources::Resources;
