//! Whether a client may take the place of the one that a session has. Pure: time comes in.
//!
//! Judged on the very version of the document that the write replaces: what was read earlier may
//! not be so any more.

use std::time::Duration;

use serde_json::json;
use stream_bridge::BridgeError;
use stream_protocol::{
    Client, DesiredState, OnConflict, Refusal, RefusalCode, Role, Screen, SessionDocument, Status,
    Timestamp,
};

use crate::response::HttpError;
use crate::session_documents;

/// Seconds after which a viewer may ask again whose session a controlling client has; sooner where
/// it is known that the session is free by then.
pub(crate) const VIEW_RETRY_S: u64 = 5;

/// Why a client did not become the client of a session.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum JoinError {
    #[error("a controlling client is there, and a viewer enters when it has left")]
    Controlled,
    #[error("the controlling client has left and may return, and a viewer enters when it does not")]
    Reserved {
        /// The seconds until it is given up.
        for_s: u64,
    },
    #[error("{}", NO_ADB)]
    NoAdb,
    #[error("{}", NO_ROLES)]
    NoRoles,
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// Nothing of ours stands between an instance and its client: who may only view is up to it.
pub(crate) const NO_ROLES: &str =
    "the instance does not say that it honours roles: whoever views could control it";

/// Nobody but the instance can serve its ADB.
pub(crate) const NO_ADB: &str =
    "the instance does not serve adb: its first report does not list the capability";

/// Returns the refusal of another client of a session that takes one.
pub(crate) fn not_joinable() -> Refusal {
    let sentence = "the session takes one client, since it was made without \"joinable\": for \
        more, make it with \"joinable\": true, \"idle_time_min\": N";
    Refusal::new(RefusalCode::Conflict, sentence)
}

impl JoinError {
    pub(crate) fn occupied() -> Self {
        let sentence = "session has a client, and does not replace it";
        Refusal::new(RefusalCode::Conflict, sentence).into()
    }
}

impl From<BridgeError> for JoinError {
    fn from(error: BridgeError) -> Self {
        match error {
            BridgeError::NotFound => session_documents::not_found().into(),
            error => Self::Refused(error.into()),
        }
    }
}

impl From<JoinError> for HttpError {
    fn from(error: JoinError) -> Self {
        match error {
            JoinError::Controlled => Self::Conflict {
                text: error.to_string(),
                retry_after_s: Some(VIEW_RETRY_S),
                metadata: None,
            },
            JoinError::Reserved { for_s } => Self::Conflict {
                text: error.to_string(),
                retry_after_s: Some(for_s.clamp(1, VIEW_RETRY_S)),
                metadata: Some(json!({ "free_after_s": for_s })),
            },
            JoinError::NoAdb | JoinError::NoRoles => Self::conflict(error.to_string()),
            JoinError::Refused(refusal) => refusal.into(),
        }
    }
}

/// Whether a client may join now in `role`, as far as the document says. A controlling client
/// replaces a viewer at once. A viewer waits for a controlling client until that has left or is
/// given up, and `grace` longer once the instance says that its stream has ended.
///
/// # Errors
///
/// Says why it may not.
pub(crate) fn judge(
    document: &SessionDocument,
    role: Role,
    (grace, now): (Duration, Timestamp),
) -> Result<(), JoinError> {
    check_active(document)?;
    if !document.request.joinable && document.client_has_come() {
        return Err(not_joinable().into());
    }
    if role == Role::View && !document.has_roles() {
        return Err(JoinError::NoRoles);
    }
    if role == Role::View {
        check_free(document, grace, now)?;
    }
    if waits(document, role) && is_connected(document) {
        return Err(JoinError::occupied());
    }
    Ok(())
}

/// Whether a client that joins in `role` is refused while another one is there.
pub(crate) fn waits(document: &SessionDocument, role: Role) -> bool {
    let replaces_viewer = role == Role::Control && named_role(document) == Some(Role::View);
    document.request.on_conflict == OnConflict::Reject && !replaces_viewer
}

/// Whether the instance has said that the stream of the present client is connected.
pub(crate) fn is_connected(document: &SessionDocument) -> bool {
    document.status == Status::Active && document.idle.is_none()
}

/// Makes the caller the client of the next generation. A viewer leaves the screen as it is.
pub(crate) fn enter(document: &mut SessionDocument, role: Role, wanted: Screen) {
    let screen = match role {
        Role::View => document.desired.client.map_or(document.screen(), |client| client.screen),
        Role::Adb | Role::Control => {
            document.last_screen = Some(wanted);
            wanted
        }
    };
    document.generation += 1;
    document.desired.client = Some(Client { screen, role });
}

/// Refuses a session that is not active, or is ending.
pub(crate) fn check_active(document: &SessionDocument) -> Result<(), Refusal> {
    let sentence = match document.status {
        Status::Active if document.desired.state == DesiredState::Running => return Ok(()),
        Status::Created => "session is not active yet",
        Status::Active | Status::Terminating => "session is ending",
        Status::Terminated | Status::Error => "session has ended",
    };
    Err(Refusal::new(RefusalCode::Conflict, sentence))
}

fn named_role(document: &SessionDocument) -> Option<Role> {
    document.desired.client.map(|client| client.role)
}

/// Refuses while a controlling client is connected, or named and not given up.
fn check_free(
    document: &SessionDocument,
    grace: Duration,
    now: Timestamp,
) -> Result<(), JoinError> {
    match named_role(document) {
        Some(Role::View) => return Ok(()),
        Some(Role::Adb | Role::Control) => {}
        None if is_connected(document) => return Err(JoinError::Controlled),
        None => return Ok(()),
    }
    let left = document.idle.as_ref();
    let left = left.filter(|idle| idle.left && idle.generation == document.generation);
    let Some(idle) = left else { return Err(JoinError::Controlled) };
    match (idle.since + grace).secs_since(now) {
        0 => Ok(()),
        for_s => Err(JoinError::Reserved { for_s }),
    }
}

#[cfg(test)]
mod tests {
    use stream_protocol::{Capability, Idle};

    use super::*;

    const GRACE: Duration = Duration::from_secs(30);

    fn idle(generation: u64, left: bool) -> Idle {
        Idle { since: 1000.into(), generation, left, answered: false, dismissed: false }
    }

    /// Its client is named and has not come yet.
    fn document() -> SessionDocument {
        let mut document = SessionDocument::sample();
        document.status = Status::Active;
        document.request.joinable = true;
        document.capabilities = [Capability::Roles].into_iter().collect();
        document.idle = Some(idle(0, false));
        document
    }

    fn join(document: &SessionDocument, role: Role, now: u64) -> Result<(), JoinError> {
        judge(document, role, (GRACE, now.into()))
    }

    #[test]
    fn a_viewer_waits_for_a_controlling_client_and_enters_when_it_is_given_up() {
        let mut document = document();
        assert_eq!(join(&document, Role::View, 9999), Err(JoinError::Controlled), "named");
        document.idle = None;
        assert_eq!(join(&document, Role::View, 9999), Err(JoinError::Controlled), "connected");
        document.idle = Some(idle(0, true));
        let reserved = |for_s| Err(JoinError::Reserved { for_s });
        assert_eq!(join(&document, Role::View, 1001), reserved(29), "may return");
        assert_eq!(join(&document, Role::View, 1029), reserved(1), "may return");
        assert_eq!(join(&document, Role::View, 1030), Ok(()));
        document.idle = Some(Idle { generation: 7, ..idle(0, true) });
        assert_eq!(join(&document, Role::View, 1030), Err(JoinError::Controlled), "another one");
        document.desired.client = None;
        assert_eq!(join(&document, Role::View, 0), Ok(()));
        document.idle = None;
        assert_eq!(join(&document, Role::View, 0), Err(JoinError::Controlled), "unnamed");
    }

    #[test]
    fn a_viewer_is_told_when_the_session_is_free_where_that_is_known() {
        let told = |error: JoinError| match HttpError::from(error) {
            HttpError::Conflict { retry_after_s, metadata, .. } => (retry_after_s, metadata),
            error => panic!("{error}"),
        };
        assert_eq!(told(JoinError::Controlled), (Some(VIEW_RETRY_S), None));
        let free = |for_s: u64| Some(json!({ "free_after_s": for_s }));
        assert_eq!(told(JoinError::Reserved { for_s: 29 }), (Some(VIEW_RETRY_S), free(29)));
        assert_eq!(told(JoinError::Reserved { for_s: 2 }), (Some(2), free(2)));
    }

    #[test]
    fn a_controlling_client_replaces_a_viewer_whatever_the_session_does_with_others() {
        let mut document = document();
        document.request.on_conflict = OnConflict::Reject;
        document.idle = None;
        let occupied = Err(JoinError::occupied());
        assert_eq!(join(&document, Role::Control, 0), occupied, "a controlling one is there");
        enter(&mut document, Role::View, Screen::default());
        assert_eq!(join(&document, Role::Control, 0), Ok(()));
        assert_eq!(join(&document, Role::View, 0), occupied, "viewers do as the session says");
        document.request.on_conflict = OnConflict::Replace;
        assert_eq!(join(&document, Role::View, 0), Ok(()));
    }

    #[test]
    fn a_session_that_is_not_joinable_takes_one_client() {
        let mut document = document();
        document.request.joinable = false;
        assert_eq!(join(&document, Role::Control, 0), Ok(()), "it is the first");
        let refused = Err(not_joinable().into());
        for come in [None, Some(idle(0, true)), Some(Idle { answered: true, ..idle(0, false) })] {
            document.idle = come;
            for role in [Role::Control, Role::View] {
                assert_eq!(join(&document, role, 9999), refused, "{:?}", document.idle);
            }
        }
    }

    #[test]
    fn nobody_views_where_the_instance_does_not_honour_roles() {
        let mut document = document();
        document.desired.client = None;
        document.capabilities = [].into_iter().collect();
        assert_eq!(join(&document, Role::View, 0), Err(JoinError::NoRoles));
        assert_eq!(join(&document, Role::Control, 0), Ok(()));
    }

    #[test]
    fn a_viewer_leaves_the_screen_as_it_is() {
        let mut document = document();
        let other = |width| Screen { width, ..Screen::default() };
        enter(&mut document, Role::View, other(320));
        let screen = |document: &SessionDocument| document.desired.client.unwrap().screen;
        assert_eq!(screen(&document), document.request.screen);
        enter(&mut document, Role::Control, other(640));
        assert_eq!(screen(&document), other(640));
        document.desired.client = None;
        enter(&mut document, Role::View, other(320));
        assert_eq!((screen(&document), document.generation), (other(640), 3));
    }

    #[test]
    fn a_session_is_joined_while_it_is_active_and_is_to_stay() {
        let created = SessionDocument { status: Status::Created, ..document() };
        let mut ending = document();
        ending.desired.state = DesiredState::Terminated;
        let ended = SessionDocument { status: Status::Error, ..document() };
        for (document, word) in [(created, "yet"), (ending, "ending"), (ended, "ended")] {
            let refused = join(&document, Role::Control, 0).unwrap_err();
            assert!(refused.to_string().ends_with(word), "{refused}");
        }
    }
}
