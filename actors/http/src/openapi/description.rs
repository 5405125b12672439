//! What is told of one endpoint beside its place in the table.

use schemars::{JsonSchema, Schema, SchemaGenerator};

/// Returns the schema of one type, or the reference to it.
pub(super) type MakeSchema = fn(&mut SchemaGenerator) -> Schema;

/// What is told of an endpoint beside its place. Bodies and answers are given by the types that
/// serde reads and writes.
#[derive(Clone, Copy, Debug)]
pub struct EndpointDoc {
    pub(super) id: &'static str,
    pub(super) summary: &'static str,
    pub(super) token: Token,
    pub(super) query: Option<MakeSchema>,
    pub(super) idempotency_key: Option<&'static str>,
    pub(super) body: Option<Body>,
    pub(super) success: Success,
    /// Further statuses of success, with the same answer.
    pub(super) also: &'static [u16],
    pub(super) refusals: &'static [u16],
    /// The endpoints that take the `id` of what is answered in their path.
    pub(super) next: &'static [&'static str],
}

/// Where an endpoint looks for the token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Token {
    Header,
    /// In the header, and only to be told more.
    Optional,
    /// Where a browser can send no header.
    Query,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Body {
    pub(super) schema: MakeSchema,
    pub(super) required: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Success {
    /// An OpenAPI document, without the envelope.
    Document,
    /// Server-sent events, for as long as they are read.
    Events,
    /// JSON in the envelope: status, and the schema of what is in it.
    Enveloped(u16, MakeSchema),
    /// There is none: every request is refused with this status.
    Never(u16),
    /// Nothing in the envelope.
    Nothing,
    /// An upgrade to WebSocket.
    Socket,
    /// A picture.
    Svg,
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
            query: None,
            idempotency_key: None,
            body: None,
            success: Success::Nothing,
            also: &[],
            refusals: &[],
            next: &[],
        }
    }

    /// The op is needed only by who brings a token, to be told more.
    pub const fn more_with_token(self) -> Self {
        Self { token: Token::Optional, ..self }
    }

    /// The token stands in the query as `token`.
    pub const fn token_in_query(self) -> Self {
        Self { token: Token::Query, ..self }
    }

    /// The members of `Q` stand in the query.
    pub const fn query<Q: JsonSchema>(self) -> Self {
        Self { query: Some(Q::json_schema), ..self }
    }

    /// Takes the header `Idempotency-Key`, which has the effect that `summary` says.
    pub const fn idempotency_key(self, summary: &'static str) -> Self {
        Self { idempotency_key: Some(summary), ..self }
    }

    pub const fn body<B: JsonSchema>(self) -> Self {
        let schema = SchemaGenerator::subschema_for::<B>;
        Self { body: Some(Body { schema, required: true }), ..self }
    }

    /// A body that may be missing.
    pub const fn optional_body<B: JsonSchema>(self) -> Self {
        let schema = SchemaGenerator::subschema_for::<B>;
        Self { body: Some(Body { schema, required: false }), ..self }
    }

    pub const fn answers<A: JsonSchema>(self) -> Self {
        Self { success: Success::Enveloped(200, SchemaGenerator::subschema_for::<A>), ..self }
    }

    /// Answers the same with other statuses of success, too.
    pub const fn also(self, statuses: &'static [u16]) -> Self {
        Self { also: statuses, ..self }
    }

    /// Answers 201 with what was made.
    pub const fn creates<A: JsonSchema>(self) -> Self {
        Self { success: Success::Enveloped(201, SchemaGenerator::subschema_for::<A>), ..self }
    }

    /// Answers 200 with the document itself.
    pub const fn answers_document(self) -> Self {
        Self { success: Success::Document, ..self }
    }

    /// Answers 200 with server-sent events, and goes on.
    pub const fn answers_events(self) -> Self {
        Self { success: Success::Events, ..self }
    }

    pub const fn answers_svg(self) -> Self {
        Self { success: Success::Svg, ..self }
    }

    pub const fn answers_text(self) -> Self {
        Self { success: Success::Text, ..self }
    }

    pub const fn opens_socket(self) -> Self {
        Self { success: Success::Socket, ..self }
    }

    /// Refuses every request with `status`.
    pub const fn never_succeeds(self, status: u16) -> Self {
        Self { success: Success::Never(status), ..self }
    }

    /// The endpoints called so take the `id` in the answer as the one in their path.
    pub const fn leads_to(self, next: &'static [&'static str]) -> Self {
        Self { next, ..self }
    }

    /// Refusals beside those that follow from the rest: 401, 403 and 503 where there is a token to
    /// check, 404 where there is something to name, 400 and 413 where there is something to read.
    pub const fn refuses(self, refusals: &'static [u16]) -> Self {
        Self { refusals, ..self }
    }
}
