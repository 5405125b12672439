//! The endpoints that end sessions: one, or many at once.

use std::collections::BTreeSet;
use std::time::Duration;

use actix_web::web::{Data, Path, Payload, Query};
use actix_web::{HttpRequest, ResponseError};
use futures_util::StreamExt;
use futures_util::stream;
use serde::{Deserialize, Serialize};
use stream_http::parse_json;
use stream_protocol::{Op, Refusal, RefusalCode, SessionId};
use tokio::time::Instant;

use super::termination::{Progress, end_session, force_end};
use crate::auth::{Caller, authorize, authorize_for};
use crate::error::bad_request;
use crate::owner::{OWNER_DEADLINE, Termination};
use crate::query::flag;
use crate::response::{HandlerResult, HttpError, body, ok, with_status};
use crate::session_documents;
use crate::state::State;

/// How long a deletion with `sync` waits for the end.
const END_DEADLINE: Duration = Duration::from_secs(30);

/// The most sessions of one request.
const MAX_IDS: usize = 1_000;

/// So many sessions of one request are ended at the same time.
const AT_ONCE: usize = 64;

/// How long a request begins to end sessions: agents that are away keep each of them waiting.
const BEGIN_WITHIN: Duration = Duration::from_secs(60);

/// How a session is to be ended.
#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct DeleteQuery {
    /// Whether it does not matter if the agent is there.
    #[cfg_attr(test, schemars(with = "Option<bool>", extend("default" = false)))]
    force: Option<String>,
    /// Whether the answer comes after the end.
    #[cfg_attr(test, schemars(with = "Option<bool>", extend("default" = false)))]
    sync: Option<String>,
}

/// Which sessions are to be ended.
#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct SessionIds {
    #[cfg_attr(test, schemars(length(min = 1, max = MAX_IDS)))]
    ids: Vec<String>,
}

/// What became of the sessions that were to be ended.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct DeletedSessions {
    /// Those that end or have ended.
    deleted_sessions: Vec<String>,
    errors: Vec<NotDeleted>,
}

/// Why a session does not end.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct NotDeleted {
    session_id: String,
    /// What a deletion of this session alone would have been answered with.
    status_code: u16,
    error_message: String,
}

/// How a deletion was asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Wanted {
    force: bool,
    sync: bool,
}

impl Wanted {
    pub(crate) fn parse(query: &str) -> Result<Self, Refusal> {
        let query = Query::<DeleteQuery>::from_query(query);
        let DeleteQuery { force, sync } =
            query.map_err(|_| bad_request("the query is malformed"))?.into_inner();
        let force = flag("force", force.as_deref())?;
        Ok(Self { force, sync: flag("sync", sync.as_deref())? })
    }
}

/// DELETE `/1.0/sessions/{id}`: has the owner end it. With `force` the session ends also when the
/// owner is away; with `sync` the answer comes after the end.
pub(crate) async fn delete_session(
    request: HttpRequest,
    id: Path<String>,
    state: Data<State>,
) -> HandlerResult {
    let (caller, id) = authorize_for(&id, &request, &state, Op::SessionDelete).await?;
    let wanted = Wanted::parse(request.query_string())?;
    delete(&id, wanted, &caller, &state).await?;
    Ok(ok(()))
}

/// DELETE `/1.0/sessions`: ends each of `ids` as [`delete_session`] does. Answers 200 when all have
/// ended, 202 when all end and nobody waited for it, and 207 with the reasons when some do not.
pub(crate) async fn delete_sessions(
    request: HttpRequest,
    payload: Payload,
    state: Data<State>,
) -> HandlerResult {
    let caller = authorize(&request, &state, Op::SessionDelete, None).await?;
    let wanted = Wanted::parse(request.query_string())?;
    let ids = session_ids(&body(&request, payload).await?)?;
    let begun = Instant::now();
    let attempts = ids.into_iter().map(async |id| {
        let deleted = match begun.elapsed() < BEGIN_WITHIN {
            true => delete_named(&id, wanted, &caller, &state).await,
            false => {
                let sentence = "the others took too long: ask again";
                Err(Refusal::new(RefusalCode::Unavailable, sentence).into())
            }
        };
        (id, deleted)
    });
    let attempts: Vec<_> = stream::iter(attempts).buffered(AT_ONCE).collect().await;
    let (status, deleted) = outcome(attempts, wanted.sync)?;
    Ok(with_status(status, deleted))
}

/// Returns the ids in a body, each once.
pub(crate) fn session_ids(body: &[u8]) -> Result<BTreeSet<String>, HttpError> {
    let SessionIds { ids } = parse_json(body, r#"{"ids":[TEXT,..]}"#)?;
    if !(1..=MAX_IDS).contains(&ids.len()) {
        return Err(HttpError::bad_request(format!("ids names 1 to {MAX_IDS} sessions")));
    }
    Ok(ids.into_iter().collect())
}

async fn delete_named(
    id: &str,
    wanted: Wanted,
    caller: &Caller,
    state: &State,
) -> Result<(), HttpError> {
    let id: SessionId = id.parse().map_err(|error| bad_request(format!("{error}")))?;
    if !caller.sees(&id, state).await? {
        return Err(session_documents::not_found().into());
    }
    delete(&id, wanted, caller, state).await
}

/// Returns what is answered to a request for many sessions. When none ends, and for one reason, it
/// is that one.
fn outcome(
    attempts: Vec<(String, Result<(), HttpError>)>,
    sync: bool,
) -> Result<(u16, DeletedSessions), HttpError> {
    let (mut deleted_sessions, mut errors, mut last) = (Vec::new(), Vec::new(), None);
    for (session_id, deleted) in attempts {
        match deleted {
            Ok(()) => deleted_sessions.push(session_id),
            Err(error) => {
                let (status_code, error_message) =
                    (error.status_code().as_u16(), error.to_string());
                errors.push(NotDeleted { session_id, status_code, error_message });
                last = Some(error);
            }
        }
    }
    let is_same = |one: &NotDeleted| one.status_code == errors[0].status_code;
    if let Some(error) = last
        && deleted_sessions.is_empty()
        && errors.iter().all(is_same)
    {
        return Err(error);
    }
    let status = match (errors.is_empty(), sync) {
        (false, _) => 207,
        (true, true) => 200,
        (true, false) => 202,
    };
    Ok((status, DeletedSessions { deleted_sessions, errors }))
}

/// Has a session end, and waits for the end if that is wanted.
async fn delete(
    id: &SessionId,
    wanted: Wanted,
    caller: &Caller,
    state: &State,
) -> Result<(), HttpError> {
    let cause = format!("deleted by {caller}");
    let (bridge, tokens) = (&state.bridge, &state.tokens);
    let progress = match wanted.force {
        true => force_end(bridge, tokens, id, cause).await?,
        false => end_session(bridge, tokens, id, cause, OWNER_DEADLINE).await?,
    };
    match progress {
        Progress::Ended(_) => return Ok(()),
        Progress::Ending(Termination::OwnerAway) if !wanted.force => {
            let sentence = "the agent is away; the session ends when it returns";
            return Err(Refusal::new(RefusalCode::Unavailable, sentence).into());
        }
        Progress::Ending(_) => {}
    }
    if wanted.sync && !session_documents::wait_for_end(&state.views, id, END_DEADLINE).await? {
        return Err(Refusal::new(RefusalCode::Unavailable, "the session is still ending").into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: RefusalCode) -> Result<(), HttpError> {
        Err(Refusal::new(code, "no").into())
    }

    fn of(attempts: Vec<Result<(), HttpError>>, sync: bool) -> Result<(u16, usize, usize), u16> {
        let named = attempts.into_iter().zip(b'a'..);
        let named = named.map(|(attempt, id)| (char::from(id).to_string(), attempt)).collect();
        match outcome(named, sync) {
            Ok((status, told)) => Ok((status, told.deleted_sessions.len(), told.errors.len())),
            Err(error) => Err(error.status_code().as_u16()),
        }
    }

    #[test]
    fn the_answer_tells_whether_all_some_or_none_end() {
        assert_eq!(of(vec![Ok(()), Ok(())], true), Ok((200, 2, 0)));
        assert_eq!(of(vec![Ok(()), Ok(())], false), Ok((202, 2, 0)));
        let partly = vec![Ok(()), refused(RefusalCode::NotFound)];
        assert_eq!(of(partly, true), Ok((207, 1, 1)));
        let none = || [refused(RefusalCode::NotFound), refused(RefusalCode::NotFound)];
        assert_eq!(of(none().into(), false), Err(404));
        let differing = none().into_iter().chain([refused(RefusalCode::Malformed)]).collect();
        assert_eq!(of(differing, false), Ok((207, 0, 3)));
    }

    #[test]
    fn ids_are_named_once_and_not_without_end() {
        let ids = |body: &str| session_ids(body.as_bytes()).map(|ids| ids.len());
        assert_eq!(ids(r#"{"ids":["a","b","a"]}"#).unwrap(), 2);
        let many = format!(r#"{{"ids":["a"{}]}}"#, r#","a""#.repeat(MAX_IDS));
        for body in ["", "[]", "{}", r#"{"ids":[]}"#, r#"{"ids":[1]}"#, &many] {
            assert!(ids(body).is_err(), "{body} passed");
        }
        let refused = ids(r#"{"ids":"s3cret"}"#).unwrap_err().to_string();
        assert!(!refused.contains("s3cret"), "{refused}");
    }

    #[test]
    fn switches_of_a_deletion_are_flags() {
        let wanted = |query| Wanted::parse(query).ok();
        assert_eq!(wanted(""), Some(Wanted { force: false, sync: false }));
        assert_eq!(wanted("force=true&sync"), Some(Wanted { force: true, sync: true }));
        assert_eq!(wanted("force=perhaps"), None);
    }
}
