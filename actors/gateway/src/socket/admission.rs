//! Whether a client, or a user of ADB, may have a socket in its session, and what the socket does.
//! Pure.

use serde::Deserialize;
use stream_protocol::{
    Client, OnConflict, Refusal, Role, SessionDocument, ShareId, SignalPeer, TokenKind,
};
use stream_socket::{CloseCause, CloseCode, FrameFormat};
use stream_tokens::Claims;

use crate::error::bad_request;
use crate::query::flag;
use crate::session_summary::SessionSummary;

/// The query of a socket's URL.
#[derive(Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct SocketQuery {
    #[cfg_attr(test, schemars(skip))]
    pub(crate) token: String,
    /// The last renewal of ICE servers that the client has heard of; without it, the present one.
    pub(crate) ice_renewal: Option<u64>,
    /// A cursor to go on from, or empty for the beginning; with it, signals come and go in
    /// envelopes.
    #[cfg_attr(
        test,
        schemars(regex(pattern = format!("^({})?$", stream_protocol::Cursor::PATTERN)))
    )]
    pub(crate) after: Option<String>,
    /// Whether fresh tokens come over the socket, with which it can be opened again.
    #[cfg_attr(test, schemars(with = "Option<bool>", extend("default" = false)))]
    pub(crate) tickets: Option<String>,
}

/// What a token says that opens a socket.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct SocketToken {
    pub(crate) generation: u64,
    /// [`Role::Adb`] comes with a share.
    pub(crate) role: Role,
    /// The share that the client came through; an account otherwise.
    pub(crate) share: Option<ShareId>,
}

impl SocketToken {
    /// Returns what verified `claims` say of a socket, or `None` when they are of another kind of
    /// token.
    pub(crate) fn of(claims: &Claims) -> Option<Self> {
        let (TokenKind::Socket, Some(generation), Some(role)) =
            (claims.kind, claims.restrictions.generation, claims.restrictions.role)
        else {
            return None;
        };
        let share = claims.subject.parse().ok();
        (role != Role::Adb || share.is_some()).then_some(Self { generation, role, share })
    }
}

/// A client's socket that may be opened.
#[derive(Debug)]
pub(crate) struct Admission {
    pub(crate) peer: SignalPeer,
    pub(crate) generation: u64,
    pub(crate) frames: FrameFormat,
    /// The last renewal of ICE servers that the client knows of.
    pub(crate) ice_renewal: u64,
    pub(crate) wants_reconnect_tokens: bool,
    /// The share that the client came through, with which its socket ends.
    pub(crate) share: Option<ShareId>,
    /// Whether a client that joins has to wait until this one has left.
    pub(crate) keeps_lease: bool,
    /// What is to be streamed, in case that the document names no client any more; nothing for a
    /// user of ADB.
    pub(crate) client: Option<Client>,
    /// Why the socket closes as soon as it is open.
    pub(crate) close_cause: Option<CloseCause>,
}

impl Admission {
    /// Decides about a socket of the session of `document`.
    ///
    /// # Errors
    ///
    /// Refuses a query that means nothing. A client that has no place in the session any more is
    /// admitted, so that it can be told [why](Admission::close_cause).
    pub(crate) fn check(
        query: &SocketQuery,
        token: SocketToken,
        document: &SessionDocument,
    ) -> Result<Self, Refusal> {
        let SocketToken { generation, role, share } = token;
        let frames = FrameFormat::from_query(query.after.as_deref())
            .map_err(|_| bad_request("after is a cursor, or empty"))?;
        let adb = share.clone().filter(|_| role == Role::Adb);
        let is_client = adb.is_none();
        let peer = SignalPeer { session: document.id.clone(), share: adb };
        let named =
            || document.desired.client.unwrap_or(Client { screen: document.screen(), role });
        Ok(Self {
            generation,
            frames,
            ice_renewal: query.ice_renewal.unwrap_or(document.ice_renewal),
            wants_reconnect_tokens: flag("tickets", query.tickets.as_deref())?,
            share,
            keeps_lease: is_client && document.request.on_conflict == OnConflict::Reject,
            client: is_client.then(named),
            close_cause: close_cause(&SessionSummary::of(document.clone()), &peer, generation),
            peer,
        })
    }

    /// Whether the client was at a gateway before and can go on at any other.
    pub(crate) fn can_resume_elsewhere(&self) -> bool {
        matches!(self.frames, FrameFormat::Enveloped { after: Some(_) })
    }
}

/// Why a socket closes whose session is long over: it is gone.
pub(crate) fn session_gone() -> CloseCause {
    CloseCause::server_error(CloseCode::Normal, "session has ended")
}

/// Returns why a socket of `generation` of `peer` has no place in the session, if it has none.
pub(crate) fn close_cause(
    session: &SessionSummary,
    peer: &SignalPeer,
    generation: u64,
) -> Option<CloseCause> {
    if session.status.is_final() {
        let message = session.status.sentence();
        return Some(CloseCause::server_error(CloseCode::Normal, message));
    }
    if !session.is_running {
        return Some(CloseCause::server_error(CloseCode::Normal, "session is ending"));
    }
    let (present, sentence) = match &peer.share {
        None => (Some(session.generation), "another client has joined the session"),
        Some(share) => match session.adb.generation(share) {
            None => (None, "the share has ended"),
            present => (present, "the share was connected anew"),
        },
    };
    (present != Some(generation)).then(|| CloseCause::server_error(CloseCode::Policy, sentence))
}

#[cfg(test)]
mod tests {
    use stream_protocol::{DesiredState, RefusalCode, Screen, Status};

    use super::*;

    fn document() -> SessionDocument {
        let mut document = SessionDocument { generation: 2, ..SessionDocument::sample() };
        document.desired.client = None;
        document
    }

    fn close_cause(document: Option<&SessionDocument>, generation: u64) -> Option<CloseCause> {
        match document.cloned().map(SessionSummary::of) {
            Some(session) => {
                let peer = SignalPeer::from(&session.id);
                super::close_cause(&session, &peer, generation)
            }
            None => Some(session_gone()),
        }
    }

    fn told(end: Option<CloseCause>) -> String {
        end.expect("an end").close_frame().0.expect("a message")
    }

    fn token(generation: u64) -> SocketToken {
        SocketToken { generation, role: Role::View, share: None }
    }

    fn check(query: SocketQuery, document: &SessionDocument) -> Result<Admission, Refusal> {
        Admission::check(&query, token(2), document)
    }

    #[test]
    fn a_socket_is_for_the_client_that_the_document_or_else_the_token_names() {
        let plain = check(SocketQuery::default(), &document()).unwrap();
        let screen = document().request.screen;
        assert_eq!(plain.client, Some(Client { screen, role: Role::View }));
        assert_eq!((plain.frames, plain.wants_reconnect_tokens), (FrameFormat::Bare, false));
        assert!(!plain.keeps_lease && plain.close_cause.is_none());

        let mut document = document();
        document.request.on_conflict = OnConflict::Reject;
        let client = Client { screen: Screen { width: 2, ..screen }, role: Role::Control };
        document.desired.client = Some(client);
        let named = check(SocketQuery::default(), &document).unwrap();
        assert_eq!((named.client, named.keeps_lease), (Some(client), true));
    }

    #[test]
    fn a_user_of_adb_is_no_client_and_stays_while_its_share_is_not_connected_anew() {
        let mut document = document();
        document.request.on_conflict = OnConflict::Reject;
        let share = ShareId::random();
        document.adb.connect(&share, 100.into(), 0.into());
        let of = |generation, share: &ShareId| {
            let share = Some(share.clone());
            SocketToken { generation, role: Role::Adb, share }
        };
        let check = |token| Admission::check(&SocketQuery::default(), token, &document).unwrap();
        let admission = check(of(1, &share));
        assert_eq!(admission.peer, SignalPeer::adb(&document.id, &share));
        assert_eq!((admission.client, admission.keeps_lease), (None, false));
        assert!(admission.close_cause.is_none());
        assert!(check(of(2, &share)).close_cause.is_some(), "of another connection");
        assert!(check(of(1, &ShareId::random())).close_cause.is_some(), "of another share");
    }

    #[test]
    fn a_client_says_what_it_knows_already() {
        let document = SessionDocument { ice_renewal: 7, ..document() };
        let query = SocketQuery { tickets: Some(String::new()), ..SocketQuery::default() };
        let fresh = check(query, &document).unwrap();
        assert!(fresh.wants_reconnect_tokens && !fresh.can_resume_elsewhere());
        assert_eq!(fresh.ice_renewal, 7);

        let after = Some("z-7".to_owned());
        let query = SocketQuery { after, ice_renewal: Some(3), ..SocketQuery::default() };
        let back = check(query, &document).unwrap();
        assert!(back.can_resume_elsewhere());
        assert_eq!(back.ice_renewal, 3);
    }

    #[test]
    fn a_query_that_means_nothing_is_refused() {
        let after = SocketQuery { after: Some("x".to_owned()), ..SocketQuery::default() };
        let tickets = SocketQuery { tickets: Some("maybe".to_owned()), ..SocketQuery::default() };
        for query in [after, tickets] {
            assert_eq!(check(query, &document()).unwrap_err().code, RefusalCode::Malformed);
        }
    }

    #[test]
    fn a_client_without_a_place_is_admitted_to_be_told_why() {
        let replaced = SessionDocument { generation: 3, ..document() };
        let admission = check(SocketQuery::default(), &replaced).unwrap();
        assert!(told(admission.close_cause).contains("another client has joined"));
    }

    #[test]
    fn the_client_of_the_present_generation_stays() {
        assert_eq!(close_cause(Some(&document()), 2), None);
    }

    #[test]
    fn a_replaced_client_is_told() {
        let text = told(close_cause(Some(&document()), 1));
        let expected =
            r#"{"type":"error","code":6,"message":"another client has joined the session"}"#;
        assert_eq!(text, expected);
    }

    #[test]
    fn the_end_of_the_session_is_told_without_its_cause() {
        let mut ended = SessionDocument { status: Status::Error, ..document() };
        ended.push_cause(1.into(), "ams refused what account anna wanted");
        assert!(told(close_cause(Some(&ended), 2)).ends_with(r#""message":"session has failed"}"#));
        let ended = SessionDocument { status: Status::Terminated, ..ended };
        assert!(told(close_cause(Some(&ended), 2)).ends_with(r#""message":"session has ended"}"#));
        assert!(told(close_cause(None, 2)).contains("session has ended"));
        let mut ending = document();
        ending.desired.state = DesiredState::Terminated;
        assert!(told(close_cause(Some(&ending), 2)).contains("session is ending"));
    }
}
