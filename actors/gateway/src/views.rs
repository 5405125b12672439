//! The actor `views`: what the gateway knows of sessions, shares and accounts without reading them
//! through. One view for all threads, which a request brings up to date and reads in memory.
//!
//! Asked by everything that lists or counts. Asks `bridge`. A restart reads everything again, and a
//! wrong view is gone.
//!
//! A view is brought up to date before it is read, so that it holds what this unit and all others
//! have stored until then; those who ask at the same time share one question to NATS. While NATS is
//! away, views are good for [`MAX_AGE`](view::MAX_AGE).

mod by_creation;
mod key_index;
mod session_index;
mod share_index;
mod view;

use std::sync::Arc;
use std::time::Duration;

use stream_bridge::{Bridge, BridgeError};
use stream_protocol::subjects::Bucket;
use stream_protocol::{Refusal, SessionDocument, SessionId};
use stream_supervisor::{Context, Limits, Mode, RestartPolicy, Supervisor, Worker};
use tokio::time::sleep;

use crate::session_summary::SessionSummary;
use crate::share_record::Share;
use key_index::KeyIndex;
use view::View;

pub(crate) use by_creation::ByCreation;
pub(crate) use session_index::{STATUSES, SessionIndex};
pub(crate) use share_index::ShareIndex;

/// How often changes are read that no request asks for, so that none finds many.
const READ_ON: Duration = Duration::from_secs(2);

/// The views of one process; cheap to clone.
#[derive(Clone)]
pub struct Views(Arc<Inner>);

struct Inner {
    bridge: Bridge,
    accounts: View<KeyIndex>,
    sessions: View<SessionIndex>,
    shares: View<ShareIndex>,
}

impl Views {
    /// Starts the actor under `supervisor`, which keeps the views up to date from the first
    /// connection to NATS on.
    pub fn start(bridge: &Bridge, supervisor: &Supervisor) -> Self {
        let views = Self(Arc::new(Inner {
            bridge: bridge.clone(),
            accounts: View::new(Bucket::Accounts),
            sessions: View::new(Bucket::Sessions),
            shares: View::new(Bucket::Shares),
        }));
        let actor = Actor { views: views.clone() };
        supervisor.spawn(
            "views",
            Mode::KeepInFlight,
            RestartPolicy::default(),
            Limits::default(),
            move || actor.clone(),
        );
        views
    }

    pub(crate) fn bridge(&self) -> &Bridge {
        &self.0.bridge
    }

    /// Returns what `read` finds in the sessions.
    ///
    /// # Errors
    ///
    /// Refuses when NATS has been away for so long that they may be others by now.
    pub(crate) async fn sessions<T>(
        &self,
        read: impl FnOnce(&SessionIndex) -> T,
    ) -> Result<T, Refusal> {
        Ok(self.0.sessions.read(&self.0.bridge, read).await?)
    }

    /// Returns what `read` finds in the shares.
    ///
    /// # Errors
    ///
    /// Refuses as [`Views::sessions`] does.
    pub(crate) async fn shares<T>(
        &self,
        read: impl FnOnce(&ShareIndex) -> T,
    ) -> Result<T, Refusal> {
        Ok(self.0.shares.read(&self.0.bridge, read).await?)
    }

    /// Returns what `read` finds in the shares, all of those that are stored by now among them.
    ///
    /// # Errors
    ///
    /// When NATS is away.
    pub(crate) async fn shares_now<T>(
        &self,
        read: impl FnOnce(&ShareIndex) -> T,
    ) -> Result<T, BridgeError> {
        self.0.shares.read_now(&self.0.bridge, read).await
    }

    /// Returns how many accounts there are.
    ///
    /// # Errors
    ///
    /// Refuses as [`Views::sessions`] does.
    pub(crate) async fn account_count(&self) -> Result<usize, Refusal> {
        Ok(self.0.accounts.read(&self.0.bridge, KeyIndex::len).await?)
    }

    /// Returns the session `id`, from the store when the view does not have it.
    ///
    /// # Errors
    ///
    /// Refuses when it is not in the view and NATS is away.
    pub(crate) async fn session(
        &self,
        id: &SessionId,
    ) -> Result<Option<Arc<SessionSummary>>, Refusal> {
        if let Some(session) = self.sessions(|sessions| sessions.find(id).cloned()).await? {
            return Ok(Some(session));
        }
        let entry = self.0.bridge.read::<SessionDocument>(Bucket::Sessions, id.as_str()).await?;
        Ok(entry.map(|entry| Arc::new(SessionSummary::of(entry.value))))
    }

    /// Returns the share `id`, whether over or not, from the store when the view does not have it.
    ///
    /// # Errors
    ///
    /// Refuses when it is not in the view and NATS is away.
    pub(crate) async fn share(&self, id: &str) -> Result<Option<Arc<Share>>, Refusal> {
        if let Some(share) = self.shares(|shares| shares.find(id).cloned()).await? {
            return Ok(Some(share));
        }
        let entry = self.0.bridge.read::<Share>(Bucket::Shares, id).await?;
        Ok(entry.map(|entry| Arc::new(entry.value)))
    }

    /// Reads on again and again. Never ends.
    async fn keep_up(&self) {
        let Inner { bridge, accounts, sessions, shares } = &*self.0;
        tokio::join!(accounts.forget(), sessions.forget(), shares.forget());
        loop {
            let read = tokio::try_join!(
                accounts.catch_up(bridge),
                sessions.catch_up(bridge),
                shares.catch_up(bridge)
            );
            if let Err(error) = read {
                log::debug!(error:%; "views are not read on");
            }
            sleep(READ_ON).await;
        }
    }
}

#[derive(Clone)]
struct Actor {
    views: Views,
}

impl Worker for Actor {
    fn started(&mut self, ctx: &Context<Self>) {
        let views = self.views.clone();
        ctx.spawn(async move { views.keep_up().await });
    }
}
