//! What the OpenAPI document of this API says beside its table of endpoints.

use serde_json::{Value, json};
use stream_http::openapi::{ApiInfo, Document, Endpoint};
use stream_protocol::{MAX_SIGNAL_BYTES, SignalQuota};

use crate::routes::{MAX_MESSAGE, MAX_NAME, MAX_SIGNALS, MAX_WAIT_S};

const API: ApiInfo = ApiInfo {
    title: "stream-agent",
    text: "The agent's API for instances, AMS, probes and operators. A trailing slash is equal. \
        `x-op` is the operation that the token must allow.",
    version: env!("CARGO_PKG_VERSION"),
    common_errors: &[429],
    body_errors: &[408],
    id_errors: &[],
};

/// Describes the API that consists of `endpoints`.
pub(crate) fn document(endpoints: &[Endpoint]) -> Document {
    Document::new(&API, endpoints, schemas())
}

fn schemas() -> Value {
    let count = || json!({"type": "integer", "minimum": 0});
    let object = |required: &[&str], properties: Value| json!({"type": "object", "required": required, "properties": properties});
    let named = |name: &str| json!({"$ref": format!("#/components/schemas/{name}")});
    let signal = object(&["type"], json!({"type": {"type": "string"}}));
    json!({
        "Wait": {"type": "integer", "minimum": 0, "maximum": MAX_WAIT_S, "default": 0},
        "LaunchedInstance": object(&["instance_id"], json!({
            "instance_id": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"},
            "app": {"type": ["string", "null"], "maxLength": MAX_NAME},
            "app_version": {"description": "Below 1 is the latest", "type": ["integer", "null"]},
            "screen": {"description": "What is 0 counts as not given", "type": ["object", "null"]},
            "extra_data": {"description": "Any JSON, for the instance"},
        })),
        "OpenedSession": object(&["id", "userdata"], json!({
            "id": named("SessionId"),
            "userdata": {
                "description": "What the instance has to find when it boots: JSON, as text",
                "type": "string",
            },
        })),
        "Version": object(&["api_version", "api_status", "api_extensions", "version"], json!({
            "api_version": {"const": "1.0"},
            "api_status": {"type": "string"},
            "api_extensions": {"type": "array", "items": {"type": "string"}},
            "version": {"type": "string"},
        })),
        "Liveness": object(&["actors"], json!({"actors": count()})),
        "Readiness": {
            "description": "By dependency: `ok`, or why it is away",
            "type": "object",
            "additionalProperties": {"type": "string"},
        },
        "UnitStatus": object(&["version", "actors", "alerts"], json!({
            "version": {"type": "string"},
            "alerts": {
                "description": "What only an operator can settle, a sentence each",
                "type": "array", "items": {"type": "string"},
            },
            "actors": {"type": "array", "items": named("ActorStatus")},
        })),
        "ActorStatus": object(
            &["name", "state", "restarts", "last_failure", "depth", "capacity", "uptime"],
            json!({
                "name": {"type": "string"},
                "group": {"type": "string"},
                "state": {"enum": ["running", "backoff", "escalated", "stopped"]},
                "restarts": count(),
                "failures": {"type": "object", "additionalProperties": count()},
                "last_failure": {
                    "type": ["object", "null"],
                    "required": ["at", "cause"],
                    "properties": {"at": count(), "cause": {"type": "string"}},
                },
                "depth": count(),
                "high_water": count(),
                "capacity": count(),
                "refused": count(),
                "uptime": {"description": "Seconds since the state was built", "type": "integer"},
            }),
        ),
        "Session": object(
            &["id", "app", "region", "status", "status_message", "joinable", "generation",
              "instance_id", "cluster_id", "created_at"],
            json!({
                "id": named("SessionId"),
                "app": {"type": "string"},
                "region": {"type": "string"},
                "status": named("Status"),
                "status_message": {"type": "string"},
                "joinable": {"type": "boolean"},
                "generation": count(),
                "instance_id": {"description": "Empty while there is none", "type": "string"},
                "cluster_id": {"type": "string"},
                "created_at": {"description": "Unix seconds", "type": "integer"},
            }),
        ),
        "Report": {"anyOf": [named("ClientReport"), named("InstanceReport")]},
        "ClientReport": object(&["client", "generation"], json!({
            "client": {"enum": ["connected", "disconnected"]},
            "generation": count(),
        })),
        "InstanceReport": object(&["status"], json!({
            "status": {"enum": ["error", "running", "stopped"]},
            "message": {
                "description": format!("Only the first {MAX_MESSAGE} characters are kept"),
                "type": "string",
            },
        })),
        "Commands": object(
            &["revision", "generation", "signaling", "client", "ice_renewal", "desired"],
            json!({
                "revision": {"description": "Grows with every change", "type": "integer"},
                "generation": count(),
                "signaling": {"enum": ["closed", "open"]},
                "client": {
                    "type": ["object", "null"],
                    "required": ["screen", "role"],
                    "properties": {
                        "screen": named("Screen"),
                        "role": {"enum": ["adb", "control", "view"]},
                    },
                },
                "ice_renewal": {
                    "description": "Grows when fresh ICE servers are to be fetched",
                    "type": "integer",
                },
                "desired": {"enum": ["running", "terminated"]},
            }),
        ),
        "Cursor": {
            "description": "Opaque: only its holder keeps it",
            "type": "string", "pattern": "^[0-9A-Za-z]+-[0-9]+$",
        },
        "Cursors": object(&["cursors"], json!({
            "cursors": {"type": "array", "items": named("Cursor")},
        })),
        "Signal": {
            "description": format!("Relayed as it is; at most {MAX_SIGNAL_BYTES} bytes of JSON"),
            "allOf": [signal],
        },
        "PostedSignal": object(&["id", "generation", "signal"], json!({
            "id": {
                "description": "The writer's own: what is written again is kept once",
                "type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$",
            },
            "generation": count(),
            "signal": named("Signal"),
        })),
        "PostedSignals": {
            "description": format!("At most {}", SignalQuota::limits()),
            "oneOf": [named("PostedSignal"), {
                "type": "array", "minItems": 1, "maxItems": MAX_SIGNALS,
                "items": named("PostedSignal"),
            }],
        },
        "SignalPage": object(&["cursor", "signals"], json!({
            "cursor": named("Cursor"),
            "signals": {"type": "array", "items": object(
                &["cursor", "generation", "signal"],
                json!({
                    "cursor": named("Cursor"), "generation": count(), "signal": named("Signal"),
                }),
            )},
        })),
    })
}
