//! What clients order, as the audit log has it.

use actix_web::dev::ServiceResponse;
use actix_web::{HttpMessage, HttpRequest};
use serde_json::{Map, Value};
use stream_audit::{Act, AuditLog, Begun, Who};
use stream_protocol::{Op, Refusal, SessionId};

/// How an operation is written down.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    /// Before it is done, and refused when that cannot be.
    Administrative,
    /// By the way: a session waits for no disk.
    OfSession,
    /// Not at all: it changes nothing, or is part of a stream.
    None,
}

fn kind(op: Op) -> Kind {
    match op {
        Op::AgentDrain | Op::ConfigUpdate | Op::ShareCreate | Op::ShareDelete | Op::ShareUpdate => {
            Kind::Administrative
        }
        Op::SessionCreate | Op::SessionDelete | Op::SessionJoin => Kind::OfSession,
        Op::AccountRead
        | Op::AgentRead
        | Op::ApplicationRead
        | Op::CommandRead
        | Op::ConfigRead
        | Op::EventRead
        | Op::IceMint
        | Op::RegionRead
        | Op::RelayRead
        | Op::SessionExplain
        | Op::SessionRead
        | Op::SessionReport
        | Op::ShareRead
        | Op::SignalRead
        | Op::SignalWrite
        | Op::StatusRead => Kind::None,
    }
}

/// Writes down that `who` may do `op` now, on `session` if that is about one.
///
/// # Errors
///
/// It cannot be written: it must not be done.
pub(crate) async fn begin(
    request: &HttpRequest,
    log: &AuditLog,
    (who, op, session): (Who, Op, Option<&SessionId>),
) -> Result<(), Refusal> {
    let kind = kind(op);
    if kind == Kind::None {
        return Ok(());
    }
    // The query may hold a token.
    let details = [("method", request.method().as_str()), ("path", request.path())];
    let details = details.map(|(name, value)| (name.to_owned(), Value::from(value)));
    let details = Map::from_iter(details);
    let session = session.map(|session| session.as_str().to_owned());
    let act = Act { who, what: op.as_str().to_owned(), session, details };
    if kind == Kind::OfSession {
        log.note(act);
        return Ok(());
    }
    let begun = log.begin(act).await?;
    request.extensions_mut().insert(begun);
    Ok(())
}

/// Writes down what came of what was begun for a request, before its answer is sent.
pub(crate) async fn end(response: &ServiceResponse<impl Sized>) {
    let begun = response.request().extensions_mut().remove::<Begun>();
    let Some(begun) = begun else { return };
    let status = response.status();
    match status.is_success() {
        true => begun.end(Ok(())).await,
        false => begun.end(Err(&format!("answered {status}"))).await,
    }
}
