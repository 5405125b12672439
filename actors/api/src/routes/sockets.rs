//! The WebSockets of the instance: signals, commands and reports without polling.

use std::time::Duration;

use actix_web::web::{Data, Payload, Query};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use serde_json::json;
#[cfg(test)]
use stream_protocol::Cursor;
use stream_protocol::{Commands, DesiredState, Op, SessionId, ShareId, SignalPeer};
use stream_sessions::{KnownCommands, SessionsError};
use stream_socket::{
    CloseCause, CloseCode, FrameFormat, SignalConnection, SignalRelay, SocketReceiver,
    SocketSender, close, keep_alive, open, open_for,
};
use stream_supervisor::{retry_while, spawn_detached};
use stream_tokens::Claims;

use super::MAX_SMALL_BODY;
use super::session::{Reported, parse_report};
use crate::auth;
use crate::error::ApiError;
use crate::state::{AppState, superseded};

/// How long one read of the commands may wait for a change.
const COMMANDS_WAIT: Duration = Duration::from_secs(60);

/// How long a report is retried while NATS is away; then the instance is told that it is lost.
const REPORT_RETRY_FOR: Duration = Duration::from_secs(30);

const NO_SOCKET: &str = "this path is for WebSocket connections";

/// The query of a signaling socket.
#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct ResumeQuery {
    /// A cursor to go on from, or empty for the beginning of the present client; with it, signals
    /// come and go in envelopes.
    #[cfg_attr(test, schemars(regex(pattern = format!("^({})?$", Cursor::PATTERN))))]
    after: Option<String>,
    /// The share of a peer that uses ADB, as the commands name it; without it, signals are those of
    /// the client.
    peer: Option<ShareId>,
}

/// The query of a control socket.
#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct CommandsQuery {
    /// The revision of the last commands that are known; the first frame repeats it.
    after: Option<u64>,
    /// The `agents_version` of the last commands that are known; with it, other agents are told at
    /// once.
    agents: Option<String>,
}

/// Parses the query of a signaling socket: whose signals it carries, and in which frames.
fn resume(query: &str) -> Result<(Option<ShareId>, FrameFormat), ApiError> {
    let wrong = || ApiError::bad_request("after is a cursor, or empty; peer is a share");
    let Query(ResumeQuery { after, peer }) = Query::from_query(query).map_err(|_| wrong())?;
    let frames = FrameFormat::from_query(after.as_deref()).map_err(|_| wrong())?;
    Ok((peer, frames))
}

/// `GET /1.0/sessions/{id}/sockets/master`, also as `/1.0/session/…`: signals both ways. Bare ones
/// are those of the present client, and the socket ends with it; in envelopes come those of all
/// clients. With `peer` they are those of a peer that uses ADB, in its place.
pub(super) async fn master(
    request: HttpRequest,
    payload: Payload,
    state: Data<AppState>,
    signal_connection: Data<SignalConnection>,
) -> Result<HttpResponse, ApiError> {
    let (id, claims) = auth::session(&request, &state, Op::SignalWrite).await?;
    let reads = auth::session(&request, &state, Op::SignalRead).await.is_ok();
    let (share, frames) = resume(request.query_string())?;
    let peer = SignalPeer { session: id, share };
    let signal_relay = state.sessions.signal_relay(&peer, frames, &signal_connection).await?;
    let (response, sender, receiver) =
        open(&request, payload).map_err(|_| ApiError::bad_request(NO_SOCKET))?;
    spawn_detached("an instance's socket", async move {
        serve_signals(&state, signal_relay, reads, claims, sender, receiver).await;
    });
    Ok(response)
}

/// Relays signals until the socket closes. The instance gets those for it only if its token may
/// read them (`reads`).
async fn serve_signals(
    state: &AppState,
    signal_relay: SignalRelay,
    reads: bool,
    claims: Claims,
    sender: SocketSender,
    mut receiver: SocketReceiver,
) {
    let (id, peer) = (&signal_relay.peer.session, &signal_relay.peer);
    log::info!(session:% = id; "signaling socket opened by the instance");
    let only = signal_relay.own_generation_only.then_some(signal_relay.generation);
    let _open = state.sessions.socket_metrics().open("signaling");
    let place = state.sockets.enter((peer.clone(), "signaling"));
    let admits = |bytes| state.sessions.try_acquire_signal(id, bytes);
    let end = tokio::select! {
        biased;
        end = state.stopped() => end,
        end = revoked(state, &claims) => end,
        end = superseded(&place) => end,
        end = watch_session(state, peer, only) => end,
        end = signal_relay.receive_from_peer(&mut receiver, admits, |_| false) => end,
        end = signal_relay.send_to_peer(sender.clone()), if reads => end,
        end = keep_alive(sender.clone()) => end,
    };
    close_socket(state, "signaling", id, sender, receiver, end).await;
}

/// `GET /1.0/sessions/{id}/sockets/control`, also as `/1.0/session/…`: the commands whenever they
/// change, in the form of the long-poll, and the other way reports in the form of a PATCH.
pub(super) async fn control(
    request: HttpRequest,
    payload: Payload,
    state: Data<AppState>,
) -> Result<HttpResponse, ApiError> {
    let (id, claims) = auth::session(&request, &state, Op::CommandRead).await?;
    let reports = auth::session(&request, &state, Op::SessionReport).await.is_ok();
    let Query(query) = Query::<CommandsQuery>::from_query(request.query_string())
        .map_err(|_| ApiError::bad_request("after is a revision"))?;
    // Read before the upgrade, so that an unknown session is a 404.
    state.sessions.read(&id).await?;
    let (response, sender, receiver) = open_for(&request, payload, MAX_SMALL_BODY)
        .map_err(|_| ApiError::bad_request(NO_SOCKET))?;
    spawn_detached("an instance's socket", async move {
        serve_control(&state, id, query, reports, claims, sender, receiver).await;
    });
    Ok(response)
}

async fn serve_control(
    state: &AppState,
    id: SessionId,
    query: CommandsQuery,
    reports: bool,
    claims: Claims,
    sender: SocketSender,
    mut receiver: SocketReceiver,
) {
    log::info!(session:% = id; "control socket opened by the instance");
    let _open = state.sessions.socket_metrics().open("control");
    let place = state.sockets.enter((SignalPeer::from(&id), "control"));
    let end = tokio::select! {
        biased;
        end = state.stopped() => end,
        end = revoked(state, &claims) => end,
        end = superseded(&place) => end,
        end = receive_reports(state, &id, reports, &mut receiver) => end,
        end = send_commands(state, &id, query, sender.clone()) => end,
        end = keep_alive(sender.clone()) => end,
    };
    close_socket(state, "control", &id, sender, receiver, end).await;
}

async fn close_socket(
    state: &AppState,
    which: &'static str,
    id: &SessionId,
    sender: SocketSender,
    receiver: SocketReceiver,
    end: CloseCause,
) {
    state.sessions.socket_metrics().closed(which, &end);
    match &end {
        CloseCause::PeerClosed => {
            log::info!(session:% = id; "{which} socket closed by the instance")
        }
        CloseCause::PeerTimedOut => log::info!(session:% = id; "{which} socket lost"),
        CloseCause::ByUs { message, .. } => {
            log::info!(session:% = id, cause:% = message; "{which} socket closed")
        }
    }
    close(sender, receiver, end).await;
}

async fn revoked(state: &AppState, claims: &Claims) -> CloseCause {
    state.tokens.revoked(claims).await;
    CloseCause::client_error(CloseCode::Policy, "token revoked")
}

/// Returns when the session ends or `peer` leaves it, or when the generation of the peer is not
/// `only` any more.
async fn watch_session(state: &AppState, peer: &SignalPeer, only: Option<u64>) -> CloseCause {
    let mut known = KnownCommands::default();
    loop {
        let commands = match commands(state, &peer.session, &known).await {
            Ok(commands) => commands,
            Err(end) => return end,
        };
        if commands.desired == DesiredState::Terminated {
            return CloseCause::server_error(CloseCode::Normal, "session is ending");
        }
        if let Some(message) = departure(&commands, peer, only) {
            return CloseCause::server_error(CloseCode::Policy, message);
        }
        known.revision = commands.revision;
    }
}

/// Why `peer` has left, if it has: it is not named any more, or not as the generation `only`.
fn departure(commands: &Commands, peer: &SignalPeer, only: Option<u64>) -> Option<&'static str> {
    let is_other = |generation: u64| only.is_some_and(|only| only != generation);
    let Some(share) = &peer.share else {
        return is_other(commands.generation).then_some("another client has joined the session");
    };
    match commands.adb.iter().find(|adb| adb.share == *share) {
        None => Some("the connection has ended"),
        Some(adb) => is_other(adb.generation).then_some("the share was connected anew"),
    }
}

async fn send_commands(
    state: &AppState,
    id: &SessionId,
    CommandsQuery { after, agents }: CommandsQuery,
    mut sender: SocketSender,
) -> CloseCause {
    let resumed = after.map(|after| json!({ "type": "resumed", "cursor": after }).to_string());
    if let Some(resumed) = resumed
        && let Err(end) = sender.send(resumed).await
    {
        return end;
    }
    let mut known = KnownCommands { revision: after.unwrap_or(0), agents };
    loop {
        let commands = match commands(state, id, &known).await {
            Ok(commands) => commands,
            Err(end) => return end,
        };
        // A read that waited in vain finds what is known.
        if !known.are(&commands) {
            known.revision = commands.revision;
            known.agents = Some(commands.agents_version.clone());
            let text = serde_json::to_string(&commands).expect("commands serialize");
            if let Err(end) = sender.send(text).await {
                return end;
            }
        }
    }
}

async fn commands(
    state: &AppState,
    id: &SessionId,
    known: &KnownCommands,
) -> Result<Commands, CloseCause> {
    let ask = async || state.sessions.commands(id, known, COMMANDS_WAIT).await;
    let asked = retry_while(Duration::MAX, SessionsError::is_transient, ask).await;
    asked.map_err(|error| CloseCause::rejected(error.refusal()))
}

/// Takes the reports of the instance, if its token `allows` them.
async fn receive_reports(
    state: &AppState,
    id: &SessionId,
    allows: bool,
    receiver: &mut SocketReceiver,
) -> CloseCause {
    loop {
        let heard = async {
            let text = receiver.recv().await?;
            if !allows {
                return Err(CloseCause::client_error(
                    CloseCode::Policy,
                    "the token does not allow reports",
                ));
            }
            let report = parse_report(text.as_bytes())
                .map_err(|error| CloseCause::client_error(CloseCode::Invalid, error.to_string()))?;
            if !state.admits_report(id) {
                let message = "the instance reports too often";
                return Err(CloseCause::client_error(CloseCode::Policy, message));
            }
            let tell = async || match report.clone() {
                Reported::Client(report) => state.sessions.report_client(id, report).await,
                Reported::Instance(report) => state.sessions.report(id, report).await,
            };
            let told = retry_while(REPORT_RETRY_FOR, SessionsError::is_transient, tell).await;
            // What does not fit the session is no reason to cut off its instance.
            if let Err(error) = told {
                let message = error.refusal().message;
                receiver
                    .reply(json!({ "type": "refused", "message": message }).to_string())
                    .await?;
            }
            Ok(())
        };
        if let Err(end) = heard.await {
            return end;
        }
    }
}

#[cfg(test)]
mod tests {
    use stream_protocol::SessionDocument;

    use super::*;

    #[test]
    fn a_cursor_in_the_query_asks_for_envelopes() {
        let cursor = Cursor { epoch: 35, sequence: 7 };
        let frames = |query| resume(query).map(|(_, frames)| frames);
        assert_eq!(frames("").expect("bare"), FrameFormat::Bare);
        assert_eq!(frames("after=").expect("new"), FrameFormat::Enveloped { after: None });
        assert_eq!(
            frames("after=z-7").expect("on"),
            FrameFormat::Enveloped { after: Some(cursor) }
        );
        assert!(frames("after=7").is_err() && frames("peer=x").is_err());
    }

    #[test]
    fn a_peer_has_left_when_it_is_not_named_or_as_another_generation() {
        let (session, share) = (SessionId::random(), ShareId::random());
        let mut document = SessionDocument { generation: 2, ..SessionDocument::sample() };
        document.adb.connect(&share, 100.into(), 0.into());
        let commands = Commands::of(&document, 1);
        let (client, adb) = (SignalPeer::from(&session), SignalPeer::adb(&session, &share));
        let is_gone = |peer: &SignalPeer, only| departure(&commands, peer, only).is_some();
        assert!(!is_gone(&client, Some(2)) && is_gone(&client, Some(1)));
        assert!(!is_gone(&adb, Some(1)) && is_gone(&adb, Some(2)));
        assert!(!is_gone(&client, None) && !is_gone(&adb, None));
        let other = SignalPeer::adb(&session, &ShareId::random());
        assert!(is_gone(&other, None));
    }
}
