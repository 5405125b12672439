//! What of the orders of operators is written into the audit log.

use serde_json::{Map, Value};
use stream_admin::{Order, Witness};
use stream_audit::{Act, AuditLog, Begun, Who};
use stream_protocol::Refusal;

/// Operations that change nothing. All others are written down.
const READING: [&str; 9] = [
    "account.list",
    "draining",
    "session.explain",
    "session.list",
    "share.list",
    "status",
    "token.inspect",
    "token.keys",
    "turn.probe",
];

/// Members of requests that say which act it is, and are no secrets.
const DETAILS: [&str; 22] = [
    "actor",
    "deadline_s",
    "drained",
    "expires_at",
    "expiry_at",
    "fault",
    "id",
    "kid",
    "lead_s",
    "max_sessions",
    "name",
    "operator",
    "overlap_s",
    "own_sessions",
    "pool",
    "role",
    "scope",
    "server",
    "sessions",
    "subject",
    "times",
    "what",
];

/// The longest value that is written, as JSON.
const MAX_VALUE_BYTES: usize = 200;

/// Writes down what operators order before it is done.
#[derive(Clone)]
pub(crate) struct OperatorAudit(pub(crate) AuditLog);

impl Witness for OperatorAudit {
    type Begun = Option<Begun>;

    async fn begin(&self, order: &Order) -> Result<Option<Begun>, Refusal> {
        match act(order) {
            Some(act) => self.0.begin(act).await.map(Some),
            None => Ok(None),
        }
    }

    async fn end(&self, begun: Option<Begun>, outcome: Result<(), &Refusal>) {
        if let Some(begun) = begun {
            begun.end(outcome.map_err(|refusal| refusal.message.as_str())).await;
        }
    }
}

/// Returns what is written of an order, if it changes anything.
fn act(order: &Order) -> Option<Act> {
    let Order { uid, op, request } = order;
    if READING.contains(&op.as_str()) {
        return None;
    }
    let members = request.as_object().into_iter().flatten();
    let details: Map<_, _> = members
        .filter(|(name, value)| {
            let is_told = DETAILS.contains(&name.as_str()) && !value.is_null();
            is_told && value.to_string().len() <= MAX_VALUE_BYTES
        })
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let member = |name| request.get(name).and_then(Value::as_str).map(str::to_owned);
    let session = match op.as_str() {
        "session.delete" => member("id"),
        _ => member("session"),
    };
    // Whatever somebody sends as an operation.
    let what = op.chars().take(64).collect();
    Some(Act { who: Who::Operator { uid: *uid }, what, session, details })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn order(request: Value) -> Order {
        let op = request["op"].as_str().expect("an operation").to_owned();
        Order { uid: 7, op, request }
    }

    #[test]
    fn what_changes_something_is_written_with_what_tells_it_and_no_secret() {
        let written = act(&order(json!({
            "op": "account.create", "name": "alice", "token": "s3cret", "operator": true,
            "subject": "x".repeat(MAX_VALUE_BYTES),
        })));
        let written = written.expect("it changes something");
        assert_eq!(
            (written.who, written.what.as_str()),
            (Who::Operator { uid: 7 }, "account.create")
        );
        assert_eq!(Value::Object(written.details), json!({ "name": "alice", "operator": true }));
        let deleted = act(&order(json!({ "op": "session.delete", "id": "s1" })));
        assert_eq!(deleted.expect("it changes something").session.as_deref(), Some("s1"));
        let shared = act(&order(json!({ "op": "share.create", "session": "s1" })));
        assert_eq!(shared.expect("it changes something").session.as_deref(), Some("s1"));
        assert!(act(&order(json!({ "op": "of.tomorrow" }))).is_some());
    }

    #[test]
    fn what_changes_nothing_is_not_written() {
        for op in READING {
            assert!(act(&order(json!({ "op": op }))).is_none(), "{op}");
        }
    }
}
