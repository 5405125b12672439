//! Endpoints that read and write the signal log for the instance.

use actix_web::web::{Data, Payload, Query};
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use stream_http::{parse_json, parse_json_list, read_body, response, without_byte_order_mark};
#[cfg(test)]
use stream_protocol::SignalQuota;
use stream_protocol::{
    Cursor, NewSignal, Op, Refusal, RefusalCode, SessionId, ShareId, Signal, SignalError, SignalId,
    SignalPeer, WholeNumber,
};

use super::session::poll;
use crate::auth;
use crate::error::ApiError;
use crate::state::AppState;

/// The bound of a request's body, in bytes.
const MAX_BODY: usize = 1024 * 1024;

/// How many signals one request may bring.
const MAX_SIGNALS: usize = 100;

const EXPECTED: &str = r#"{"id","generation","signal":{..}} or an array of them"#;

/// Where the signals of a request are in the log, in their order.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct Cursors {
    cursors: Vec<Cursor>,
}

/// Whose signals they are.
#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct PeerQuery {
    /// The share of a peer that uses ADB, as the commands name it; without it, the client.
    peer: Option<ShareId>,
}

/// Returns the peer of the instance of `session` that `query` names.
///
/// # Errors
///
/// 400 when it names none.
pub(crate) fn peer(query: &str, session: SessionId) -> Result<SignalPeer, ApiError> {
    let Query(PeerQuery { peer: share }) = Query::from_query(query)
        .map_err(|_| ApiError::bad_request("peer is the share of a peer in the commands"))?;
    Ok(SignalPeer { session, share })
}

/// `POST /1.0/sessions/{id}/signals`: answers when the log has acknowledged every signal.
pub(super) async fn write(
    request: HttpRequest,
    payload: Payload,
    state: Data<AppState>,
) -> Result<HttpResponse, ApiError> {
    let (id, _) = auth::session(&request, &state, Op::SignalWrite).await?;
    let peer = peer(request.query_string(), id)?;
    let signals = parse(&read_body(&request, payload, MAX_BODY).await?)?;
    let cursors = state.sessions.write_signals(&peer, signals).await?;
    Ok(response::ok(Cursors { cursors }))
}

/// `GET /1.0/sessions/{id}/signals`
pub(super) async fn read(
    request: HttpRequest,
    state: Data<AppState>,
) -> Result<HttpResponse, ApiError> {
    let (id, claims) = auth::session(&request, &state, Op::SignalRead).await?;
    let (share, after, wait) = poll(request.query_string())?;
    let peer = SignalPeer { session: id, share };
    let poll = async |wait| state.sessions.read_signals(&peer, after, wait).await;
    Ok(response::ok(state.poll(&claims, wait, poll).await?))
}

/// A signal as it is written.
///
/// Its content is parsed after its size was checked.
#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct PostedSignal {
    /// The writer's own: what is written again is kept once.
    id: SignalId,
    #[serde(deserialize_with = "WholeNumber::deserialize_number")]
    #[cfg_attr(test, schemars(range(max = WholeNumber::MAX)))]
    generation: u64,
    #[cfg_attr(test, schemars(with = "Signal"))]
    signal: Box<RawValue>,
}

/// What [`parse`] reads.
#[cfg(test)]
#[derive(schemars::JsonSchema)]
#[schemars(untagged, description = format!("At most {}", SignalQuota::limits()))]
#[allow(dead_code)] // Only its schema is of use.
pub(super) enum PostedSignals {
    One(PostedSignal),
    Several(#[schemars(length(min = 1, max = MAX_SIGNALS))] Vec<PostedSignal>),
}

/// Parses one signal or an array of them.
///
/// # Errors
///
/// 400 or 413 when one of them is invalid or too large; none is taken then.
pub(crate) fn parse(body: &[u8]) -> Result<Vec<NewSignal>, ApiError> {
    let text = without_byte_order_mark(body).trim_ascii_start();
    let several = text.starts_with(b"[");
    let incoming: Vec<PostedSignal> =
        if several { parse_json_list(body, EXPECTED)? } else { vec![parse_json(body, EXPECTED)?] };
    match incoming.len() {
        0 => Err(ApiError::bad_request("there is no signal in the body")),
        1..=MAX_SIGNALS => incoming.into_iter().map(check).collect(),
        _ => {
            let text = format!("a request brings at most {MAX_SIGNALS} signals");
            Err(Refusal::new(RefusalCode::TooLarge, text).into())
        }
    }
}

fn check(PostedSignal { id, generation, signal }: PostedSignal) -> Result<NewSignal, ApiError> {
    let signal = Signal::parse(signal.get().to_owned()).map_err(|error| {
        let code = match error {
            SignalError::NotASignal(_) => RefusalCode::Malformed,
            SignalError::TooLarge => RefusalCode::TooLarge,
        };
        Refusal::new(code, error.to_string())
    })?;
    Ok(NewSignal { id, generation, signal })
}

#[cfg(test)]
mod tests {
    use actix_web::ResponseError;
    use stream_protocol::MAX_SIGNAL_BYTES;

    use super::*;

    fn one(n: usize) -> String {
        format!(r#"{{"id":"s-{n}","generation":3,"signal":{{ "type":"offer", "n":{n} }}}}"#)
    }

    fn many(count: usize) -> String {
        format!(" [{}]", (0..count).map(one).collect::<Vec<_>>().join(","))
    }

    fn refused(body: &str) -> u16 {
        parse(body.as_bytes()).expect_err("it should be refused").status_code().as_u16()
    }

    #[test]
    fn one_signal_and_several_are_read_and_keep_their_bytes() {
        let signals = parse(one(7).as_bytes()).expect("one signal");
        assert_eq!((signals.len(), signals[0].generation), (1, 3));
        assert_eq!(signals[0].id.as_str(), "s-7");
        assert_eq!(signals[0].signal.as_str(), r#"{ "type":"offer", "n":7 }"#);
        let signals = parse(many(MAX_SIGNALS).as_bytes()).expect("several signals");
        assert_eq!(signals.len(), MAX_SIGNALS);
        assert_eq!(signals[99].id.as_str(), "s-99");
        let marked = format!("\u{feff}{}", many(2));
        assert_eq!(parse(marked.as_bytes()).expect("with a byte order mark").len(), 2);
    }

    #[test]
    fn what_is_too_much_is_too_large() {
        assert_eq!(refused(&many(MAX_SIGNALS + 1)), 413);
        let pad = "a".repeat(MAX_SIGNAL_BYTES);
        let body = format!(r#"{{"id":"a","generation":1,"signal":{{"type":"x","p":"{pad}"}}}}"#);
        assert_eq!(refused(&body), 413);
    }

    #[test]
    fn what_is_no_signal_is_malformed_and_takes_the_rest_of_the_request_along() {
        let typeless = r#"{"id":"a","generation":1,"signal":{}}"#;
        let dotted = r#"{"id":"a.b","generation":1,"signal":{"type":"x"}}"#;
        let mixed = format!("[{},{typeless}]", one(1));
        for body in ["", "[]", "7", "{}", typeless, dotted, &mixed] {
            assert_eq!(refused(body), 400, "{body}");
        }
        let error = parse(dotted.as_bytes()).expect_err("an id with a dot");
        assert!(!error.to_string().contains("a.b"), "the body was quoted: {error}");
    }
}
