//! What the OpenAPI document of this API says beside its table of endpoints.

use serde_json::{Value, json};
use stream_http::openapi::{ApiInfo, Document, Endpoint, Parameter};

use crate::sessions::request::{MAX_EXTRA_DATA, MAX_NAME};
use crate::shares::MAX_DESCRIPTION;

pub(crate) const CREATION: &[Parameter] = &[Parameter::header(
    "Idempotency-Key",
    "IdempotencyKey",
    "A request that is repeated with its key finds its first session",
)];

pub(crate) const DELETION: &[Parameter] = &[
    Parameter::query("force", "Flag", "Whether it does not matter if the agent is there"),
    Parameter::query("sync", "Flag", "Whether the answer comes after the end"),
];

pub(crate) const LISTING: &[Parameter] = &[
    Parameter::query("status", "Status", "Only the sessions that have it"),
    Parameter::query("recursion", "Flag", "Whole sessions rather than their ids"),
    Parameter::query("recursive", "Flag", "The older name of recursion"),
    Parameter::query("limit", "Count", "0 is no limit"),
    Parameter::query("offset", "Count", "How many to leave out at the beginning"),
    Parameter::query("sort_by", "SortBy", "What to sort by"),
    Parameter::query("sort_order", "SortOrder", "Which way"),
];

pub(crate) const OPENING: &[Parameter] = &[
    Parameter::query(
        "ice_renewal",
        "Count",
        "The last renewal of ICE servers that the client has heard of; without it, the present one",
    ),
    Parameter::query(
        "after",
        "Place",
        "A cursor to go on from, or empty; with it, signals come and go in envelopes",
    ),
    Parameter::query(
        "tickets",
        "Flag",
        "Whether fresh tokens come over the socket, with which it can be opened again",
    ),
];

pub(crate) const CONNECTING: &[Parameter] =
    &[Parameter::query("type", "ShareType", "That of the share")];

pub(crate) const SHARES: &[Parameter] = &[
    Parameter::query("session_id", "SessionId", "Only the shares of this session"),
    Parameter::query("recursion", "Flag", "Whole shares rather than their ids"),
    Parameter::query("limit", "Count", "0 is no limit"),
    Parameter::query("offset", "Count", "How many to leave out at the beginning"),
];

pub(crate) const SHARE_DELETION: &[Parameter] = &[Parameter::query(
    "sync",
    "Flag",
    "When it is false the answer is 202; it is done all the same",
)];

const API: ApiInfo = ApiInfo {
    title: "stream-gateway",
    text: "The API for clients. A trailing slash is equal. `x-op` is the operation that the token \
        must allow. Where the operator lets it, `api_token=TOKEN` in the query counts like the \
        header.",
    version: env!("CARGO_PKG_VERSION"),
    common_errors: &[],
    body_errors: &[408],
    id_errors: &[400],
};

/// Describes the API that consists of `endpoints`.
pub(crate) fn document(endpoints: &[Endpoint]) -> Document {
    Document::new(&API, endpoints, schemas())
}

fn schemas() -> Value {
    let text = || json!({"type": "string"});
    let object = |required: &[&str], properties: Value| json!({"type": "object", "required": required, "properties": properties});
    let named = |name: &str| json!({"$ref": format!("#/components/schemas/{name}")});
    let name = || json!({"type": ["string", "null"], "maxLength": MAX_NAME});
    let description = || json!({"type": ["string", "null"], "maxLength": MAX_DESCRIPTION});
    let seconds = || {
        json!({
            "description": "Unix seconds; 30 days after the beginning at most",
            "type": ["integer", "null"], "minimum": 0,
        })
    };
    // Clients send null for what they do not want.
    let screen = || json!({"anyOf": [named("Screen"), {"type": "null"}]});
    let socket = || {
        json!({
            "description": "Where the client opens its socket, soon", "type": "string",
            "pattern": "^wss://",
        })
    };
    json!({
        "SortBy": {"enum": ["created_at"]},
        "SortOrder": {"enum": ["asc", "desc"], "default": "asc"},
        "Names": {"type": "array", "items": object(&["name"], json!({"name": text()}))},
        "ServiceStatus": object(&["status"], json!({
            "status": {"enum": ["healthy", "unhealthy"]},
            "agents": {"description": "Only with a token", "type": "integer", "minimum": 0},
        })),
        "SessionPost": object(&["app"], json!({
            "app": {"type": "string", "minLength": 1, "maxLength": MAX_NAME},
            "app_version": {
                "description": "The last published one by default, and when negative or empty",
                "type": ["integer", "string", "null"], "pattern": "^ *(-?[0-9]+)? *$",
            },
            "region": name(),
            "screen": screen(),
            "joinable": {"type": ["boolean", "null"], "default": false},
            "ephemeral": {"type": ["boolean", "null"], "default": true},
            "on_conflict": {
                "description": "What becomes of the present client when another one joins",
                "enum": ["replace", "reject", null], "default": "replace",
            },
            "idle_time_min": {
                "description": "Minutes without a client until the end; 0 is never",
                "type": ["integer", "null"], "minimum": 0,
            },
            "extra_data": {
                "description": format!("For the instance, at most {MAX_EXTRA_DATA} bytes of JSON"),
            },
        })),
        "SessionJoin": object(&[], json!({"screen": screen()})),
        "Session": object(
            &["id", "app", "region", "status", "status_message", "joinable", "container_id",
              "cluster_id"],
            json!({
                "id": named("SessionId"),
                "app": text(),
                "region": text(),
                "status": named("Status"),
                "status_message": text(),
                "joinable": {"type": "boolean"},
                "container_id": {"description": "Empty while there is none", "type": "string"},
                "cluster_id": text(),
            }),
        ),
        "Sessions": {
            "description": "Ids, or with recursion whole sessions",
            "anyOf": [
                {"type": "array", "items": named("SessionId")},
                {"type": "array", "items": named("Session")},
            ],
        },
        "CreatedSession": object(
            &["id", "region", "status", "joinable", "url", "stun_servers"],
            json!({
                "id": named("SessionId"),
                "region": text(),
                "status": named("Status"),
                "joinable": {"type": "boolean"},
                "url": socket(),
                "stun_servers": named("IceServers"),
            }),
        ),
        "ShareId": {"type": "string", "pattern": "^[a-z0-9]{20}$"},
        "ShareType": {"enum": ["control", "view"]},
        "SharePost": object(&["type"], json!({
            "type": named("ShareType"),
            "description": description(),
            "expiry_at": seconds(),
            "expiry_min": {
                "description": "Minutes from now; expiry_at wins",
                "type": ["integer", "null"], "minimum": 0,
            },
        })),
        "SharePatch": object(&[], json!({"description": description(), "expiry_at": seconds()})),
        "Share": object(
            &["id", "session_id", "type", "description", "created_at", "expiry_at", "expiry_min"],
            json!({
                "id": named("ShareId"),
                "session_id": named("SessionId"),
                "type": named("ShareType"),
                "description": text(),
                "created_at": {"type": "integer"},
                "expiry_at": {"type": "integer"},
                "expiry_min": {"type": "integer", "minimum": 0},
                "url": {"description": "What the page opens; not in lists", "type": "string"},
            }),
        ),
        "Shares": {
            "description": "Ids, or with recursion whole shares",
            "anyOf": [
                {"type": "array", "items": named("ShareId")},
                {"type": "array", "items": named("Share")},
            ],
        },
        "JoinedSession": object(&["id", "url", "stun_servers"], json!({
            "id": named("SessionId"),
            "url": socket(),
            "stun_servers": named("IceServers"),
        })),
    })
}
