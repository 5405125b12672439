//! Samples for tests of other crates, behind the feature `test-util`.

use crate::{JsonText, OnConflict, Request, Screen, SessionDocument, SessionId, Timestamp};

impl Request {
    /// Returns the request of a client that says nothing but the name of the application.
    pub fn for_app(app: &str) -> Self {
        Self {
            app: app.to_owned(),
            app_version: None,
            region: String::new(),
            screen: Screen::default(),
            joinable: false,
            ephemeral: true,
            idle_time_min: 0,
            on_conflict: OnConflict::default(),
            first_client_s: 0,
            extra_data: JsonText::null(),
        }
    }
}

impl SessionDocument {
    /// Returns the document of a session that a client has just asked for: application `a`, created
    /// at 100 s and to be claimed until 130 s.
    pub fn sample() -> Self {
        let (now, deadline) = (Timestamp::from_unix(100), Timestamp::from_unix(130));
        Self::new(SessionId::random(), Request::for_app("a"), now, deadline)
    }
}
