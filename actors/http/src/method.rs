//! The answer to a method that a path does not take.

use actix_web::{HttpRequest, HttpResponse};

use crate::error::HttpError;
use crate::openapi::Endpoint;
use crate::route::PathEndpoints;

/// What a resource takes that is in no table.
const READ_ONLY: &str = "GET, HEAD";

/// Refuses the methods that a path has no endpoint for, and names those it has.
///
/// # Errors
///
/// Always.
pub async fn method_not_allowed(request: HttpRequest) -> Result<HttpResponse, HttpError> {
    let taken = PathEndpoints::of(&request).map(|path| {
        let methods = path.endpoints.iter().copied().flat_map(Endpoint::methods);
        methods.collect::<Vec<_>>().join(", ")
    });
    Err(HttpError::MethodNotAllowed { allow: taken.unwrap_or_else(|| READ_ONLY.to_owned()) })
}
