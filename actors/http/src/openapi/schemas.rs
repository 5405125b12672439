//! Schemas of what both APIs say: the envelope, and the parts of this crate that clients see.

use serde_json::{Map, Value, json};

use crate::idempotency::MAX_IDEMPOTENCY_KEY;

/// Returns schemas by name.
pub(super) fn shared() -> Map<String, Value> {
    let schemas = json!({
        "Success": {
            "description": "The envelope of every answer that is no refusal",
            "type": "object",
            "required": ["type", "status", "status_code", "metadata"],
            "properties": {
                "type": {"const": "sync"},
                "status": {"const": "success"},
                "status_code": {"type": "integer", "minimum": 200, "maximum": 299},
                "metadata": true,
                "total_size": {
                    "description": "Of a list: how many entries there are without limit and offset",
                    "type": "integer", "minimum": 0,
                },
            },
        },
        "Failure": {
            "description": "The envelope of every refusal",
            "type": "object",
            "required": ["type", "status", "status_code", "error"],
            "properties": {
                "type": {"const": "error"},
                "status": {"const": "failed"},
                "status_code": {"type": "integer", "minimum": 400, "maximum": 599},
                "error": {"description": "A sentence for people", "type": "string"},
                "metadata": {"description": "What the asker can go on with, if anything"},
            },
        },
        "Nothing": {"type": ["object", "null"], "maxProperties": 0},
        "OpenApi": {
            "type": "object",
            "required": ["openapi", "info", "paths"],
            "properties": {"openapi": {"type": "string", "pattern": "^3\\.1\\."}},
        },
        "Count": {"type": "integer", "minimum": 0},
        "Flag": {"type": "boolean", "default": false},
        "Place": {"type": "string", "pattern": "^([0-9A-Za-z]+-[0-9]+)?$"},
        "IdempotencyKey": {
            "type": "string", "minLength": 1, "maxLength": MAX_IDEMPOTENCY_KEY,
            "pattern": "^[ -~]+$",
        },
        "SessionId": {"type": "string", "pattern": "^[a-z0-9]{20}$"},
        "Status": {"enum": ["created", "active", "terminating", "terminated", "error"]},
        "Screen": {
            "description": "Odd sizes are rounded up by one; portrait turns the limits",
            "type": "object",
            "properties": {
                "width": {"type": "integer", "minimum": 1, "maximum": 3840, "default": 1280},
                "height": {"type": "integer", "minimum": 1, "maximum": 3840, "default": 720},
                "fps": {"type": "integer", "minimum": 1, "maximum": 240, "default": 60},
                "density": {"type": "integer", "minimum": 72, "default": 240},
            },
        },
        "IceServers": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["urls"],
                "properties": {
                    "urls": {"type": "array", "minItems": 1, "items": {"type": "string"}},
                    "username": {"type": "string"},
                    "password": {"type": "string"},
                },
            },
        },
    });
    match schemas {
        Value::Object(schemas) => schemas,
        _ => Map::new(),
    }
}
