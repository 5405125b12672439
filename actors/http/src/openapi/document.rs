//! The document, OpenAPI 3.1.1 <https://spec.openapis.org/oas/v3.1.1.html>. Pure.

use std::collections::{BTreeMap, BTreeSet};

use schemars::SchemaGenerator;
use serde_json::{Map, Value, json};
use stream_protocol::{SessionId, ShareId};

use super::Endpoint;
use super::description::{EndpointDoc, MakeSchema, Success, Token};
use super::schemas::Schemas;
use crate::idempotency::MAX_IDEMPOTENCY_KEY;
use crate::response::Detailed;

/// What an API says of itself.
#[derive(Clone, Copy, Debug)]
pub struct ApiInfo {
    pub title: &'static str,
    pub text: &'static str,
    pub version: &'static str,
    /// Refusals that every endpoint may answer with.
    pub common_errors: &'static [u16],
    /// Refusals of every endpoint that reads a body, beside 400 and 413.
    pub body_errors: &'static [u16],
    /// Refusals of every endpoint with an `{id}`, beside 404.
    pub id_errors: &'static [u16],
}

/// Returns the document of the API that consists of `endpoints`, of which `docs` tell in the same
/// order.
pub fn to_openapi(api: &ApiInfo, endpoints: &[Endpoint], docs: &[EndpointDoc]) -> Value {
    let mut schemas = Schemas::new();
    schemas.written(SchemaGenerator::subschema_for::<stream_protocol::Success<Value>>);
    schemas.written(SchemaGenerator::subschema_for::<Detailed<'_, Value>>);
    let mut paths = Map::new();
    let mut statuses = BTreeSet::new();
    for (endpoint, doc) in endpoints.iter().zip(docs) {
        let refusals = refusals(api, endpoint, doc);
        let path = paths.entry(endpoint.path).or_insert_with(|| path(endpoint.path, &mut schemas));
        path[endpoint.method.to_ascii_lowercase()] =
            operation(endpoint, doc, &refusals, &mut schemas);
        statuses.extend(refusals);
    }
    let mut responses = Map::new();
    for status in statuses {
        responses.insert(status.to_string(), refusal(status));
    }
    responses.insert("other".to_owned(), failure("Something else is wrong"));
    json!({
        "openapi": "3.1.1",
        "info": {
            "title": api.title,
            "description": api.text,
            "version": api.version,
            "license": {"name": "Apache 2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "header": {
                    "type": "apiKey", "in": "header", "name": "Authorization",
                    "description": "`Macaroon root=TOKEN`",
                },
                "query": {
                    "type": "apiKey", "in": "query", "name": "token",
                    "description": "Part of the address that another answer gave",
                },
            },
            "responses": responses,
            "schemas": schemas.named(),
        },
    })
}

/// Returns what all methods of a path have in common: an `{id}` below `sessions` is a `SessionId`.
fn path(path: &str, schemas: &mut Schemas) -> Value {
    let parts: Vec<_> = path.split('/').collect();
    let ids = parts.windows(2).filter(|pair| pair[1] == "{id}");
    let parameters: Vec<_> = ids
        .map(|pair| {
            let make: MakeSchema = match pair[0] {
                "shares" => SchemaGenerator::subschema_for::<ShareId>,
                _ => SchemaGenerator::subschema_for::<SessionId>,
            };
            let schema = schemas.read(make);
            json!({"name": "id", "in": "path", "required": true, "schema": schema})
        })
        .collect();
    if parameters.is_empty() { json!({}) } else { json!({ "parameters": parameters }) }
}

fn operation(
    endpoint: &Endpoint,
    doc: &EndpointDoc,
    refusals: &BTreeSet<u16>,
    schemas: &mut Schemas,
) -> Value {
    let EndpointDoc { id, summary, token, body, success, also, next, .. } = doc;
    let mut responses = Map::new();
    if let Some((status, mut done)) = answer(*success, schemas) {
        if !next.is_empty() {
            done["links"] =
                next.iter().map(|id| ((*id).to_owned(), link(id))).collect::<Map<_, _>>().into();
        }
        responses.extend(also.iter().map(|status| (status.to_string(), done.clone())));
        responses.insert(status.to_string(), done);
    }
    for status in refusals {
        let name = status.to_string();
        let reference = reference("responses", &name);
        responses.insert(name, reference);
    }
    responses.insert("default".to_owned(), reference("responses", "other"));
    let security = match (endpoint.op, token) {
        (None, _) => json!([]),
        (Some(_), Token::Header) => json!([{"header": []}]),
        (Some(_), Token::Optional) => json!([{}, {"header": []}]),
        (Some(_), Token::Query) => json!([{"query": []}]),
    };
    let mut operation = json!({
        "operationId": id, "summary": summary, "security": security, "responses": responses,
    });
    if let Some(op) = endpoint.op {
        operation["x-op"] = op.as_str().into();
    }
    let parameters = parameters(doc, schemas);
    if !parameters.is_empty() {
        operation["parameters"] = parameters.into();
    }
    if let Some(body) = body {
        let content = content(schemas.read(body.schema));
        operation["requestBody"] = json!({"required": body.required, "content": content});
    }
    operation
}

/// Returns the way to an endpoint that takes the `id` in an answer.
fn link(operation: &str) -> Value {
    let parameters = json!({"id": "$response.body#/metadata/id"});
    json!({"operationId": operation, "parameters": parameters})
}

/// Returns the header and the members of the query, by name.
fn parameters(doc: &EndpointDoc, schemas: &mut Schemas) -> Vec<Value> {
    let key = doc.idempotency_key.map(|summary| {
        let schema = json!({
            "type": "string", "minLength": 1, "maxLength": MAX_IDEMPOTENCY_KEY,
            "pattern": "^[ -~]+$",
        });
        json!({"name": "Idempotency-Key", "in": "header", "description": summary, "schema": schema})
    });
    let mut query = doc.query.map(|query| schemas.read(query)).unwrap_or_default();
    let required = query["required"].take();
    let members = match query["properties"].take() {
        Value::Object(members) => members.into_iter().collect(),
        _ => BTreeMap::new(),
    };
    let members = members.into_iter().map(|(name, schema)| {
        let required = required.as_array().is_some_and(|names| names.contains(&json!(name)));
        query_parameter(&name, schema, required)
    });
    key.into_iter().chain(members).collect()
}

/// Describes a member of a query, which cannot be null as that of a body can.
fn query_parameter(name: &str, mut schema: Value, required: bool) -> Value {
    let description = schema.as_object_mut().and_then(|schema| schema.remove("description"));
    if let Some([value, null]) = schema["anyOf"].as_array().map(Vec::as_slice)
        && null["type"] == "null"
    {
        schema = value.clone();
    } else if let Some([value, null]) = schema["type"].as_array().map(Vec::as_slice)
        && null == "null"
    {
        schema["type"] = value.clone();
    }
    let mut parameter = json!({"name": name, "in": "query", "schema": schema});
    if let Some(description) = description {
        parameter["description"] = description;
    }
    if required {
        parameter["required"] = true.into();
    }
    parameter
}

/// Returns what is answered to a request that succeeds, if one can.
fn answer(success: Success, schemas: &mut Schemas) -> Option<(u16, Value)> {
    let enveloped = |metadata: Value| {
        let metadata = json!({"properties": {"metadata": metadata}});
        let schema = json!({"allOf": [reference("schemas", "Success"), metadata]});
        json!({"description": "Done", "content": content(schema)})
    };
    Some(match success {
        Success::Never(_) => return None,
        Success::Document => {
            let schema = json!({
                "type": "object",
                "required": ["openapi", "info", "paths"],
                "properties": {"openapi": {"type": "string", "pattern": "^3\\.1\\."}},
            });
            (200, json!({"description": "Done", "content": content(schema)}))
        }
        Success::Enveloped(status, make) => (status, enveloped(schemas.written(make))),
        Success::Nothing => {
            (200, enveloped(json!({"type": ["object", "null"], "maxProperties": 0})))
        }
        Success::Socket => (101, json!({"description": "The connection is a WebSocket now"})),
        Success::Events => (200, text("text/event-stream")),
        Success::Svg => (200, text("image/svg+xml")),
        Success::Text => (200, text("text/plain")),
    })
}

fn text(kind: &str) -> Value {
    json!({"description": "Done", "content": {kind: {"schema": {"type": "string"}}}})
}

/// Returns how `endpoint` may refuse.
fn refusals(api: &ApiInfo, endpoint: &Endpoint, doc: &EndpointDoc) -> BTreeSet<u16> {
    let EndpointDoc { query, idempotency_key, body, refusals, success, .. } = doc;
    // Before anything of the request is looked at.
    if let Success::Never(status) = success {
        return BTreeSet::from([*status]);
    }
    let mut statuses = BTreeSet::from_iter(refusals.iter().chain(api.common_errors).copied());
    if endpoint.op.is_some() {
        statuses.extend([401, 403, 503]);
    }
    if endpoint.path.contains('{') {
        statuses.insert(404);
        statuses.extend(api.id_errors);
    }
    if query.is_some() || idempotency_key.is_some() {
        statuses.insert(400);
    }
    if body.is_some() {
        statuses.extend([400, 413]);
        statuses.extend(api.body_errors);
    }
    statuses
}

fn refusal(status: u16) -> Value {
    let mut answer = failure(match status {
        400 => "The request is malformed, or the state of the session does not allow it",
        401 => "A valid token is needed",
        403 => "The token, or a limit, does not allow this, or nobody may do it here",
        404 => "There is none, or none that the asker may see",
        408 => "The body did not arrive in time",
        409 => "Not now or not here: with Retry-After again later, with a cursor go on from there",
        413 => "The body is larger than it may be",
        429 => "Too much was asked: again later",
        503 => "Something that this depends on is away, or too much is queued: again later",
        _ => "Refused",
    });
    if let 409 | 429 | 503 = status {
        let seconds = json!({"type": "integer", "minimum": 0});
        answer["headers"] = json!({"Retry-After": {"description": "Seconds", "schema": seconds}});
    }
    answer
}

fn failure(text: &str) -> Value {
    json!({"description": text, "content": content(reference("schemas", "Failure"))})
}

fn content(schema: Value) -> Value {
    json!({"application/json": {"schema": schema}})
}

fn reference(kind: &str, name: &str) -> Value {
    json!({"$ref": format!("#/components/{kind}/{name}")})
}
