//! What is told of an HTTPS API: a table of endpoints, and the OpenAPI 3.1 document made of it.
//!
//! Each service registers its routes from the same table, so that the two cannot differ.

mod document;
mod schemas;

use actix_web::HttpResponse;
use actix_web::http::header::{CACHE_CONTROL, ContentType};
use actix_web::web::{Bytes, Data};
use serde_json::Value;
use stream_protocol::Op;

pub use document::ApiInfo;
use document::to_openapi;

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
    pub doc: EndpointDoc,
}

/// What is told of an endpoint beside its place. Schemas are given by their names.
#[derive(Clone, Copy, Debug)]
pub struct EndpointDoc {
    id: &'static str,
    summary: &'static str,
    token: Token,
    parameters: &'static [Parameter],
    body: Option<Body>,
    success: Success,
    refusals: &'static [u16],
    acts: bool,
}

/// Where an endpoint looks for the token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Token {
    Header,
    /// In the header, and only to be told more.
    Optional,
    /// Where a browser can send no header.
    Query,
}

/// A value beside the path.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    place: &'static str,
    name: &'static str,
    schema: &'static str,
    summary: &'static str,
}

#[derive(Clone, Copy, Debug)]
struct Body {
    schema: &'static str,
    required: bool,
}

#[derive(Clone, Copy, Debug)]
enum Success {
    /// JSON without the envelope.
    Bare(&'static str),
    /// JSON in the envelope: status, and the schema of what is in it.
    Enveloped(u16, &'static str),
    /// An upgrade to WebSocket.
    Socket,
    Text,
}

impl EndpointDoc {
    /// An endpoint that answers 200 with nothing in the envelope, unless something else is said.
    /// `id` is what generated clients call it: unique in its API.
    pub const fn new(id: &'static str, summary: &'static str) -> Self {
        Self {
            id,
            summary,
            token: Token::Header,
            parameters: &[],
            body: None,
            success: Success::Enveloped(200, "Nothing"),
            refusals: &[],
            acts: false,
        }
    }

    /// A GET that changes something: it has no HEAD, which must be harmless.
    pub const fn acts(self) -> Self {
        Self { acts: true, ..self }
    }

    /// Returns whether an endpoint with `method` answers HEAD as well.
    pub fn takes_head(&self, method: &str) -> bool {
        method == "GET" && !self.acts && !matches!(self.success, Success::Socket)
    }

    /// The op is needed only by who brings a token, to be told more.
    pub const fn more_with_token(self) -> Self {
        Self { token: Token::Optional, ..self }
    }

    /// The token stands in the query as `token`.
    pub const fn token_in_query(self) -> Self {
        Self { token: Token::Query, ..self }
    }

    pub const fn takes(self, parameters: &'static [Parameter]) -> Self {
        Self { parameters, ..self }
    }

    pub const fn body(self, schema: &'static str) -> Self {
        Self { body: Some(Body { schema, required: true }), ..self }
    }

    /// A body that may be missing.
    pub const fn optional_body(self, schema: &'static str) -> Self {
        Self { body: Some(Body { schema, required: false }), ..self }
    }

    pub const fn answers(self, schema: &'static str) -> Self {
        Self { success: Success::Enveloped(200, schema), ..self }
    }

    /// Answers 201 with what was made.
    pub const fn creates(self, schema: &'static str) -> Self {
        Self { success: Success::Enveloped(201, schema), ..self }
    }

    /// Answers 200 with JSON that has no envelope.
    pub const fn answers_bare(self, schema: &'static str) -> Self {
        Self { success: Success::Bare(schema), ..self }
    }

    pub const fn answers_text(self) -> Self {
        Self { success: Success::Text, ..self }
    }

    pub const fn opens_socket(self) -> Self {
        Self { success: Success::Socket, ..self }
    }

    /// Refusals beside those that follow from the rest: 401, 403 and 503 where there is a token to
    /// check, 404 where there is something to name, 400 and 413 where there is something to read.
    pub const fn refuses(self, refusals: &'static [u16]) -> Self {
        Self { refusals, ..self }
    }
}

impl Parameter {
    pub const fn query(name: &'static str, schema: &'static str, summary: &'static str) -> Self {
        Self { place: "query", name, schema, summary }
    }

    pub const fn header(name: &'static str, schema: &'static str, summary: &'static str) -> Self {
        Self { place: "header", name, schema, summary }
    }
}

impl Endpoint {
    /// Returns the methods that are served: with GET also HEAD, where that is harmless.
    pub(crate) fn methods(&self) -> impl Iterator<Item = &'static str> {
        let head = self.doc.takes_head(self.method).then_some("HEAD");
        [Some(self.method), head].into_iter().flatten()
    }

    /// Returns whether requests with `method` at the resource with this pattern come here.
    pub(crate) fn serves(&self, method: &str, pattern: &str) -> bool {
        self.method == method && self.path == pattern
    }
}

/// The document of an API as it is served.
#[derive(Clone)]
pub struct Document(Bytes);

impl Document {
    /// Describes the API that consists of `endpoints`; `schemas` are those it has beside the shared
    /// ones, by name.
    pub fn new(api: &ApiInfo, endpoints: &[Endpoint], schemas: Value) -> Self {
        Self(Bytes::from(to_openapi(api, endpoints, schemas).to_string()))
    }
}

/// `GET /1.0/openapi.json`: answers with the [`Document`] in the application data.
pub async fn serve(document: Data<Document>) -> HttpResponse {
    HttpResponse::Ok()
        .content_type(ContentType::json())
        .insert_header((CACHE_CONTROL, "no-cache"))
        .body(document.0.clone())
}
