//! The answer to a method that a path does not take.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};

use crate::error::HttpError;
use crate::middleware::Observer;
use crate::openapi::Endpoint;

/// What a resource takes that is in no table.
const READ_ONLY: &str = "GET, HEAD";

/// Refuses the methods that a path has no endpoint for, and names those it has.
///
/// # Errors
///
/// Always.
pub async fn method_not_allowed(request: HttpRequest) -> Result<HttpResponse, HttpError> {
    let observer = request.app_data::<Data<Observer>>();
    let endpoints = observer.map_or(&[][..], |observer| observer.endpoints);
    let allow = allow(endpoints, &request.match_pattern().unwrap_or_default());
    Err(HttpError::MethodNotAllowed { allow })
}

fn allow(endpoints: &[Endpoint], pattern: &str) -> String {
    let taken = endpoints.iter().filter(|endpoint| endpoint.path == pattern);
    let methods: Vec<_> = taken.flat_map(Endpoint::methods).collect();
    if methods.is_empty() { READ_ONLY.to_owned() } else { methods.join(", ") }
}
