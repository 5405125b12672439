//! Waiting for changes of one session.

use std::sync::Arc;

use stream_protocol::SessionId;
use tokio::sync::Notify;

use super::session_index::SessionIndex;
use super::view::View;
use crate::session_summary::SessionSummary;

/// Tells how a session is, whenever it is another way. One that waits costs no question to NATS.
pub(crate) struct SessionWatch {
    sessions: Arc<View<SessionIndex>>,
    id: SessionId,
    news: Arc<Notify>,
    /// What was told last; `None` before the first time.
    told: Option<Option<Arc<SessionSummary>>>,
}

impl SessionWatch {
    pub(super) fn new(sessions: Arc<View<SessionIndex>>, id: SessionId) -> Self {
        let news = sessions.watch(id.as_str());
        Self { sessions, id, news, told: None }
    }

    /// Returns how the session is, the first time at once and then when it has changed; `None` when
    /// the view does not have it (any more). Of several changes the last is told.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Option<Arc<SessionSummary>> {
        loop {
            // Made before the look, it hears of what changes after it.
            let news = self.news.notified();
            let found = self.sessions.peek(|sessions| sessions.find(&self.id).cloned());
            let is_told = |told: &Option<Arc<SessionSummary>>| match (told, &found) {
                (Some(told), Some(found)) => Arc::ptr_eq(told, found),
                (told, found) => told.is_none() && found.is_none(),
            };
            if !self.told.as_ref().is_some_and(is_told) {
                self.told = Some(found.clone());
                return found;
            }
            news.await;
        }
    }
}

impl Drop for SessionWatch {
    fn drop(&mut self) {
        self.sessions.unwatch(self.id.as_str());
    }
}
