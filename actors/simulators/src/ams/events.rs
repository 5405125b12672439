//! The [events](stream_protocol::manual::wire#operations-and-events) that AMS sends.

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// An event as it goes over the wire, and its type, by which listeners choose.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) kind: &'static str,
    pub(crate) text: Arc<str>,
}

pub(crate) const OPERATION: &str = "operation";
pub(crate) const LIFECYCLE: &str = "lifecycle";

impl Event {
    pub(crate) fn operation(operation: &impl Serialize) -> Self {
        Self::new(OPERATION, &json!(operation))
    }

    /// `action` is one of those that the manual lists, `source` the URL of the instance.
    pub(crate) fn lifecycle(action: &str, source: String) -> Self {
        Self::new(LIFECYCLE, &json!({ "action": action, "source": source }))
    }

    fn new(kind: &'static str, metadata: &Value) -> Self {
        let now = OffsetDateTime::now_utc().format(&Rfc3339);
        let timestamp = now.expect("the present year has four digits");
        let event = json!({ "type": kind, "timestamp": timestamp, "metadata": metadata });
        Self { kind, text: event.to_string().into() }
    }
}

/// Which events a listener wants: a list of types, everything when it is empty.
pub(crate) fn wants(types: &str, event: &Event) -> bool {
    let mut types = types.split(',').map(str::trim).filter(|kind| !kind.is_empty()).peekable();
    types.peek().is_none() || types.any(|kind| kind == event.kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_gets_the_types_it_asked_for() {
        let event = Event::lifecycle("instance-running", "/1.0/instances/i".to_owned());
        assert!(wants("", &event) && wants("operation, lifecycle", &event));
        assert!(!wants("operation", &event));
        let value: Value = serde_json::from_str(&event.text).expect("json");
        assert_eq!(
            (&value["type"], &value["metadata"]["action"]),
            (&json!("lifecycle"), &json!("instance-running"),)
        );
    }
}
