//! What is told of an HTTPS API: a table of endpoints, and the OpenAPI 3.1 document made of it.
//!
//! Each service registers its routes from the table, so that the two cannot differ. A test makes
//! the document from the table and from the types that serde reads and writes, and compares it with
//! a file, which the service includes: nothing of what makes documents is part of a service.

#[cfg(any(test, feature = "schema"))]
mod description;
#[cfg(any(test, feature = "schema"))]
mod document;
#[cfg(any(test, feature = "schema"))]
mod file;
#[cfg(any(test, feature = "schema"))]
mod schemas;

use actix_web::HttpResponse;
use actix_web::http::header::{CACHE_CONTROL, ContentType};
use actix_web::web::Data;
use stream_protocol::Op;

#[cfg(any(test, feature = "schema"))]
pub use description::EndpointDoc;
#[cfg(any(test, feature = "schema"))]
pub use document::{ApiInfo, to_openapi};
#[cfg(any(test, feature = "schema"))]
pub use file::check_file;

/// A path that a service serves with one method, and what a token must allow there.
#[derive(Clone, Copy, Debug)]
pub struct Endpoint {
    pub method: &'static str,
    /// A part that varies stands in braces: `{id}`.
    pub path: &'static str,
    /// `None` is open to everybody.
    pub op: Option<Op>,
    /// What metrics call it.
    pub metric: &'static str,
    /// Whether HEAD is served as well, as for a GET that changes nothing.
    pub head: bool,
}

impl Endpoint {
    /// Returns the methods that are served: with GET also HEAD, where that is harmless.
    pub(crate) fn methods(&self) -> impl Iterator<Item = &'static str> {
        let head = self.head.then_some("HEAD");
        [Some(self.method), head].into_iter().flatten()
    }
}

/// The document of an API as it is served.
#[derive(Clone, Copy)]
pub struct Document(&'static [u8]);

impl Document {
    /// Takes the text of the document, which is JSON.
    pub const fn new(json: &'static [u8]) -> Self {
        Self(json)
    }
}

/// `GET /1.0/openapi.json`: answers with the [`Document`] in the application data.
pub async fn serve(document: Data<Document>) -> HttpResponse {
    HttpResponse::Ok()
        .content_type(ContentType::json())
        .insert_header((CACHE_CONTROL, "no-cache"))
        .body(document.0)
}
