//! Endpoints of one session: read, delete, report, commands, ICE servers.

use std::time::Duration;

use actix_web::web::{Data, Payload, Query};
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use serde_json::json;
use stream_http::{HttpError, parse_json, read_body, response};
use stream_protocol::{
    ClientReport, Op, Report, SessionDocument, SessionId, ShareId, Status, Timestamp, TokenKind,
    printable,
};
use stream_sessions::KnownCommands;

use super::MAX_SMALL_BODY;
use crate::auth;
use crate::error::ApiError;
use crate::state::AppState;

/// The longest time that a long-poll stays open, in seconds. A larger `wait` counts as this.
const MAX_WAIT_S: u64 = 60;

/// The part of a message that is kept, in characters: the session's document holds several.
const MAX_MESSAGE: usize = 1024;

/// A session as it is shown.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "Session"))]
pub(super) struct SessionView<'a> {
    id: &'a SessionId,
    app: &'a str,
    region: &'a str,
    status: Status,
    status_message: &'a str,
    joinable: bool,
    generation: u64,
    /// Empty while there is none.
    instance_id: &'a str,
    cluster_id: &'a str,
    created_at: Timestamp,
}

impl<'a> SessionView<'a> {
    /// Shows a session to whoever has a token of `kind`. An instance is told no more than what
    /// became of it: why may name accounts.
    fn of(document: &'a SessionDocument, kind: TokenKind) -> Self {
        let is_told_why = kind != TokenKind::Instance;
        Self {
            id: &document.id,
            app: &document.request.app,
            region: document.region(),
            status: document.status,
            status_message: match is_told_why {
                true => document.last_cause(),
                false => document.status.sentence(),
            },
            joinable: document.request.joinable,
            generation: document.generation,
            instance_id: document.instance_id.as_deref().unwrap_or_default(),
            cluster_id: &document.cluster,
            created_at: document.created_at,
        }
    }
}

/// `GET /1.0/sessions/{id}`
pub(super) async fn read(
    request: HttpRequest,
    state: Data<AppState>,
) -> Result<HttpResponse, ApiError> {
    let (id, claims) = auth::session(&request, &state, Op::SessionRead).await?;
    let document = state.sessions.read(&id).await?;
    Ok(response::ok(SessionView::of(&document, claims.kind)))
}

/// `DELETE /1.0/sessions/{id}`
pub(super) async fn end(
    request: HttpRequest,
    state: Data<AppState>,
) -> Result<HttpResponse, ApiError> {
    let (id, claims) = auth::session(&request, &state, Op::SessionDelete).await?;
    let cause = format!("ended by {} {}", claims.kind, claims.subject);
    state.sessions.end(&id, &cause).await?;
    Ok(response::ok(json!({})))
}

/// `PATCH /1.0/sessions/{id}`
pub(super) async fn report(
    request: HttpRequest,
    payload: Payload,
    state: Data<AppState>,
) -> Result<HttpResponse, ApiError> {
    let (id, _) = auth::session(&request, &state, Op::SessionReport).await?;
    let bytes = read_body(&request, payload, MAX_SMALL_BODY).await?;
    if !state.admits_report(&id) {
        return Err(HttpError::RateLimited.into());
    }
    match parse_report(&bytes)? {
        Reported::Client(report) => state.sessions.report_client(&id, report).await?,
        Reported::Instance(report) => state.sessions.report(&id, report).await?,
    }
    Ok(response::ok(json!({})))
}

/// A report of an instance, on its client or on itself.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(
    test,
    derive(schemars::JsonSchema),
    schemars(
        rename = "Report",
        description = format!("Of a message only the first {MAX_MESSAGE} characters are kept")
    )
)]
#[serde(untagged)]
pub(crate) enum Reported {
    Client(ClientReport),
    Instance(Report),
}

pub(crate) fn parse_report(bytes: &[u8]) -> Result<Reported, ApiError> {
    let expected = concat!(
        r#"{"status":"running"|"error"|"stopped","message":"..","capabilities":[..]} or "#,
        r#"{"client":"connected"|"disconnected","generation":n}"#,
    );
    Ok(match parse_json(bytes, expected)? {
        Reported::Instance(Report { status, message, capabilities }) => {
            // It may end up on a terminal.
            let message = printable(&message, MAX_MESSAGE);
            Reported::Instance(Report { status, message, capabilities })
        }
        client => client,
    })
}

/// The query of a long-poll.
#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(bound = "T: Deserialize<'de>")]
pub(super) struct PollQuery<T> {
    /// The revision or the cursor of the last answer. Without it, the answer is the present state,
    /// or all signals of this generation.
    after: Option<T>,
    /// The share of a peer that uses ADB, as the commands name it; without it, the client.
    peer: Option<ShareId>,
    /// Seconds to wait for something new; more than the maximum counts as the maximum.
    #[serde(default)]
    #[cfg_attr(test, schemars(range(max = MAX_WAIT_S)))]
    wait: u64,
}

/// Parses the query of a long-poll: whose signals it asks for, the cursor it starts after, and how
/// long it waits.
///
/// # Errors
///
/// 400 when a value does not parse.
pub(crate) fn poll<T: for<'de> Deserialize<'de>>(
    query: &str,
) -> Result<(Option<ShareId>, Option<T>, Duration), ApiError> {
    let Query(PollQuery { after, peer, wait }) = Query::from_query(query).map_err(|_| {
        ApiError::bad_request(
            "after is what the last answer gave, peer is a share, wait is a number of seconds",
        )
    })?;
    Ok((peer, after, Duration::from_secs(wait.min(MAX_WAIT_S))))
}

/// The query of a long-poll for commands.
#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct CommandsPollQuery {
    /// The revision of the last commands that are known.
    #[cfg_attr(test, schemars(range(max = u64::MAX)))]
    after: Option<u64>,
    /// The `agents_version` of the last commands that are known; with it, other agents are an
    /// answer at once.
    agents: Option<String>,
    /// Seconds to wait for something new; more than the maximum counts as the maximum.
    #[serde(default)]
    #[cfg_attr(test, schemars(range(max = MAX_WAIT_S)))]
    wait: u64,
}

/// `GET /1.0/sessions/{id}/commands`
pub(super) async fn commands(
    request: HttpRequest,
    state: Data<AppState>,
) -> Result<HttpResponse, ApiError> {
    let (id, claims) = auth::session(&request, &state, Op::CommandRead).await?;
    let query = Query::from_query(request.query_string());
    let Query(CommandsPollQuery { after, agents, wait }) = query
        .map_err(|_| ApiError::bad_request("after is a revision, wait is a number of seconds"))?;
    let wait = Duration::from_secs(wait.min(MAX_WAIT_S));
    // No revision is 0: without one, the present state is the answer.
    let known = KnownCommands { revision: after.unwrap_or(0), agents };
    let poll = async |wait| state.sessions.commands(&id, &known, wait).await;
    Ok(response::ok(state.poll(&claims, wait, poll).await?))
}

/// The query of a request for ICE servers.
#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct IceQuery {
    /// Whether the client is to get fresh servers too.
    #[serde(default)]
    renew: bool,
}

/// `POST /1.0/sessions/{id}/ice-servers`, with `?renew=true` when the instance has lost its client
pub(super) async fn ice_servers(
    request: HttpRequest,
    state: Data<AppState>,
) -> Result<HttpResponse, ApiError> {
    let (id, _) = auth::session(&request, &state, Op::IceMint).await?;
    let Query(IceQuery { renew }) = Query::from_query(request.query_string())
        .map_err(|_| ApiError::bad_request("renew is true or false"))?;
    Ok(response::ok(match renew {
        true => state.sessions.renew_ice(&id).await?,
        false => state.sessions.instance_ice(&id).await?,
    }))
}

#[cfg(test)]
mod tests {
    use stream_protocol::{Cursor, ReportedStatus};

    use super::*;

    #[test]
    fn a_poll_is_read_from_the_query_and_never_waits_longer_than_a_minute() {
        let waits = |query| poll::<u64>(query).map(|(_, after, wait)| (after, wait.as_secs()));
        assert_eq!(waits("").expect("defaults"), (None, 0));
        assert_eq!(waits("after=7&wait=25").expect("a poll"), (Some(7), 25));
        assert_eq!(waits("wait=86400&other=x").expect("a poll"), (None, 60));
        for query in ["after=x", "wait=-1", "wait=x", "wait=1&wait=2"] {
            assert!(waits(query).is_err(), "{query} passed");
        }
        let cursor = Cursor { epoch: 35, sequence: 7 };
        assert_eq!(poll("after=z-7").expect("a poll").1, Some(cursor));
        let share = "abcdefghij0123456789";
        let peer = poll::<Cursor>(&format!("peer={share}")).expect("a poll").0;
        assert_eq!(peer.as_ref().map(ShareId::as_str), Some(share));
        assert!(poll::<Cursor>("peer=x").is_err());
        assert!(poll::<Cursor>("after=7").is_err());
    }

    #[test]
    fn a_report_is_read_and_its_message_shortened() {
        let body = format!(r#"{{"status":"error","message":"a\u001b[2J{}"}}"#, "x".repeat(5000));
        let Ok(Reported::Instance(report)) = parse_report(body.as_bytes()) else {
            panic!("no report")
        };
        assert_eq!(report.status, ReportedStatus::Error);
        assert_eq!(report.message.chars().count(), MAX_MESSAGE);
        assert!(report.message.starts_with("a[2Jx"), "control characters are dropped");
        let refused = parse_report(br#"{"status":"deleted"}"#).expect_err("no report").to_string();
        assert!(!refused.contains(char::is_control), "it has one line: {refused:?}");
        let client = parse_report(br#"{"client":"connected","generation":2}"#).expect("a report");
        assert!(matches!(client, Reported::Client(ClientReport { generation: 2, .. })));
        assert!(parse_report(br#"{"client":"connected"}"#).is_err());
    }
}
