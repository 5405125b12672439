//! The document, OpenAPI 3.1.1 <https://spec.openapis.org/oas/v3.1.1.html>. Pure.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::schemas::shared;
use super::{Endpoint, EndpointDoc, Parameter, Success, Token};

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

/// Returns the document of the API that consists of `endpoints`; `schemas` are those it has beside
/// the shared ones, by name.
pub(super) fn to_openapi(api: &ApiInfo, endpoints: &[Endpoint], schemas: Value) -> Value {
    let mut paths = Map::new();
    let mut statuses = BTreeSet::new();
    for endpoint in endpoints {
        let refusals = refusals(api, endpoint);
        let path = paths.entry(endpoint.path).or_insert_with(|| path(endpoint.path));
        path[endpoint.method.to_ascii_lowercase()] = operation(endpoint, &refusals);
        statuses.extend(refusals);
    }
    let mut responses = Map::new();
    for status in statuses {
        responses.insert(status.to_string(), refusal(status));
    }
    responses.insert("other".to_owned(), failure("Something else is wrong"));
    let mut all = shared();
    if let Value::Object(schemas) = schemas {
        all.extend(schemas);
    }
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
            "schemas": all,
        },
    })
}

/// Returns what all methods of a path have in common: an `{id}` below `sessions` is a `SessionId`.
fn path(path: &str) -> Value {
    let parts: Vec<_> = path.split('/').collect();
    let ids = parts.windows(2).filter(|pair| pair[1] == "{id}");
    let parameters: Vec<_> = ids
        .map(|pair| {
            let whose = pair[0].trim_end_matches('s');
            let schema = format!("{}{}Id", whose[..1].to_ascii_uppercase(), &whose[1..]);
            let schema = reference("schemas", &schema);
            json!({"name": "id", "in": "path", "required": true, "schema": schema})
        })
        .collect();
    if parameters.is_empty() { json!({}) } else { json!({ "parameters": parameters }) }
}

fn operation(endpoint: &Endpoint, refusals: &BTreeSet<u16>) -> Value {
    let EndpointDoc { id, summary, token, parameters, body, success, .. } = endpoint.doc;
    let mut responses = Map::from_iter([answer(success)]);
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
    if !parameters.is_empty() {
        operation["parameters"] = parameters.iter().map(parameter).collect();
    }
    if let Some(body) = body {
        operation["requestBody"] = json!({"required": body.required, "content": content(reference("schemas", body.schema))});
    }
    operation
}

fn parameter(parameter: &Parameter) -> Value {
    let Parameter { place, name, schema, summary } = parameter;
    let schema = reference("schemas", schema);
    json!({"name": name, "in": place, "description": summary, "schema": schema})
}

fn answer(success: Success) -> (String, Value) {
    let (status, answer) = match success {
        Success::Bare(schema) => {
            (200, json!({"description": "Done", "content": content(reference("schemas", schema))}))
        }
        Success::Enveloped(status, schema) => {
            let metadata = json!({"properties": {"metadata": reference("schemas", schema)}});
            let schema = json!({"allOf": [reference("schemas", "Success"), metadata]});
            (status, json!({"description": "Done", "content": content(schema)}))
        }
        Success::Socket => (101, json!({"description": "The connection is a WebSocket now"})),
        Success::Text => {
            let content = json!({"text/plain": {"schema": {"type": "string"}}});
            (200, json!({"description": "Done", "content": content}))
        }
    };
    (status.to_string(), answer)
}

/// Returns how `endpoint` may refuse.
fn refusals(api: &ApiInfo, endpoint: &Endpoint) -> BTreeSet<u16> {
    let EndpointDoc { parameters, body, refusals, .. } = endpoint.doc;
    let mut statuses = BTreeSet::from_iter(refusals.iter().chain(api.common_errors).copied());
    if endpoint.op.is_some() {
        statuses.extend([401, 403, 503]);
    }
    if endpoint.path.contains('{') {
        statuses.insert(404);
        statuses.extend(api.id_errors);
    }
    if !parameters.is_empty() {
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
        403 => "The token does not allow this",
        404 => "There is none, or none that the asker may see",
        408 => "The body did not arrive in time",
        409 => "What follows the cursor is no longer kept: go on from the one in the metadata",
        413 => "The body is larger than it may be",
        429 => "Too much was asked: again later",
        503 => "Something that this depends on is away, or too much is queued: again later",
        _ => "Refused",
    });
    if let 429 | 503 = status {
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
