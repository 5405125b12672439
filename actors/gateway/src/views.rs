//! The actor `views`: what the gateway knows of sessions, shares, accounts and settings without
//! reading them through. One view for all threads, which a request brings up to date and reads in
//! memory.
//!
//! Asked by everything that shows, lists or counts, and by sockets for their session. Asks
//! `bridge`. A restart reads everything again, and a wrong view is gone.
//!
//! What is listed and counted is brought up to date first, so that it holds what this unit and all
//! others have stored until then; those who ask at the same time share one question to NATS. A
//! single session and an account are read as they are in memory: the view of sessions follows what
//! the server publishes of them, milliseconds behind the store, and accounts, of which nothing is
//! published, are read every [`READ_ON`]. One that was not read in time, or since this unit changed
//! something ([`Views::note_change`]), is brought up to date as well. While NATS is away, views are
//! good for [`MAX_AGE`](view::MAX_AGE), and settings for ever.

mod account_index;
mod by_creation;
mod session_index;
mod session_watch;
mod settings_index;
mod share_index;
mod subscription;
mod view;
mod watchers;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use stream_bridge::{Bridge, BridgeError};
use stream_protocol::subjects::Bucket;
use stream_protocol::{Refusal, SessionDocument, SessionId};
use stream_supervisor::{Context, Limits, Mode, RestartPolicy, Supervisor, Worker};
use tokio::time::{Instant, sleep};

use crate::account_record::{Account, AccountName};
use crate::session_summary::SessionSummary;
use crate::settings::Settings;
use crate::share_record::Share;
use settings_index::SettingsIndex;
use view::View;

pub(crate) use account_index::AccountIndex;
pub(crate) use by_creation::ByCreation;
pub(crate) use session_index::{STATUSES, SessionIndex};
pub(crate) use session_watch::SessionWatch;
pub(crate) use share_index::ShareIndex;
pub(crate) use subscription::{News, Position, Subscription};

/// How often changes are read that no request asks for, so that none finds many.
const READ_ON: Duration = Duration::from_secs(2);

/// How long after it was read a view is good for that is read on all the time.
const FOLLOWED_WITHIN: Duration = Duration::from_secs(3);

/// Sessions are read on so often at most, however many of them change.
const GATHER: Duration = Duration::from_millis(10);

/// The views of one process; cheap to clone.
#[derive(Clone)]
pub struct Views(Arc<Inner>);

struct Inner {
    bridge: Bridge,
    accounts: View<AccountIndex>,
    sessions: Arc<View<SessionIndex>>,
    settings: View<SettingsIndex>,
    file_settings: Mutex<Settings>,
    shares: View<ShareIndex>,
    /// When this unit last changed something.
    changed_at: Mutex<Option<Instant>>,
}

impl Views {
    /// Starts the actor under `supervisor`, which keeps the views up to date from the first
    /// connection to NATS on.
    /// `file_settings` hold where operators have not changed them.
    pub fn start(bridge: &Bridge, file_settings: Settings, supervisor: &Supervisor) -> Self {
        let views = Self(Arc::new(Inner {
            bridge: bridge.clone(),
            accounts: View::new(Bucket::Accounts),
            sessions: Arc::new(View::new(Bucket::Sessions)),
            settings: View::new(Bucket::Settings),
            file_settings: Mutex::new(file_settings),
            shares: View::new(Bucket::Shares),
            changed_at: Mutex::default(),
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

    /// Has other `settings` of the file hold from now on, where operators have not changed them.
    pub fn set_file_settings(&self, settings: Settings) {
        *self.0.file_settings.lock() = settings;
    }

    fn file_settings(&self) -> Settings {
        *self.0.file_settings.lock()
    }

    pub(crate) fn bridge(&self) -> &Bridge {
        &self.0.bridge
    }

    /// Notes that a request may have changed something, which is then seen by the next ones.
    pub(crate) fn note_change(&self) {
        *self.0.changed_at.lock() = Some(Instant::now());
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
        Ok(self.0.sessions.read(&self.0.bridge, Instant::now(), read).await?)
    }

    /// Returns what `read` finds in the accounts as they were up to [`FOLLOWED_WITHIN`] ago; the
    /// tokens of an account that was deleted since are revoked.
    ///
    /// # Errors
    ///
    /// Refuses as [`Views::sessions`] does.
    pub(crate) async fn accounts<T>(
        &self,
        read: impl FnOnce(&AccountIndex) -> T,
    ) -> Result<T, Refusal> {
        Ok(self.0.accounts.read(&self.0.bridge, self.followed_since(), read).await?)
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
        Ok(self.0.shares.read(&self.0.bridge, Instant::now(), read).await?)
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

    /// Returns the account called `name`, from the store when the view does not have it.
    ///
    /// # Errors
    ///
    /// Refuses when it is not in the view and NATS is away.
    pub(crate) async fn account(
        &self,
        name: &AccountName,
    ) -> Result<Option<Arc<Account>>, Refusal> {
        if let Some(account) = self.accounts(|accounts| accounts.find(name).cloned()).await? {
            return Ok(Some(account));
        }
        let entry = self.0.bridge.read::<Account>(Bucket::Accounts, &name.key()).await?;
        Ok(entry.map(|entry| Arc::new(entry.value)))
    }

    /// Returns the session `id` as this unit has heard of it last, milliseconds ago; from the store
    /// when the view does not have it.
    ///
    /// # Errors
    ///
    /// Refuses when it is not in the view and NATS is away.
    pub(crate) async fn session(
        &self,
        id: &SessionId,
    ) -> Result<Option<Arc<SessionSummary>>, Refusal> {
        let find = |sessions: &SessionIndex| sessions.find(id).cloned();
        let known = self.0.sessions.read(&self.0.bridge, self.followed_since(), find).await?;
        if known.is_some() {
            return Ok(known);
        }
        let entry = self.0.bridge.read::<SessionDocument>(Bucket::Sessions, id.as_str()).await?;
        Ok(entry.map(|entry| Arc::new(SessionSummary::of(entry.value))))
    }

    /// Watches the session `id`. What is told first holds all that is stored by now.
    ///
    /// # Errors
    ///
    /// When NATS is away.
    pub(crate) async fn watch_session(&self, id: &SessionId) -> Result<SessionWatch, BridgeError> {
        self.0.sessions.catch_up(&self.0.bridge).await?;
        Ok(SessionWatch::new(Arc::clone(&self.0.sessions), id.clone()))
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

    /// Returns what gathers the changes of sessions and of shares from now on.
    pub(crate) fn subscribe(&self) -> (Subscription, Subscription) {
        (self.0.sessions.subscribe(), self.0.shares.subscribe())
    }

    /// Returns what `read` finds in the sessions as they are in memory, which is followed.
    pub(crate) fn peek_sessions<T>(&self, read: impl FnOnce(&SessionIndex) -> T) -> T {
        self.0.sessions.peek(read)
    }

    /// Returns what `read` finds in the shares as they are in memory, which is read every
    /// [`READ_ON`], and more often where somebody asks.
    pub(crate) fn peek_shares<T>(&self, read: impl FnOnce(&ShareIndex) -> T) -> T {
        self.0.shares.peek(read)
    }

    /// Has the shares in memory be those of `since`, at least.
    ///
    /// # Errors
    ///
    /// Refuses as [`Views::sessions`] does.
    pub(crate) async fn follow_shares(&self, since: Instant) -> Result<(), Refusal> {
        Ok(self.0.shares.read(&self.0.bridge, since, |_| ()).await?)
    }

    /// Returns the settings as they held up to [`FOLLOWED_WITHIN`] ago; while NATS is away, as they
    /// were known last.
    pub(crate) async fn settings(&self) -> Settings {
        let (Inner { bridge, settings, .. }, of_file) = (&*self.0, self.file_settings());
        let since = followed_until(Instant::now());
        let read = settings.read(bridge, since, |index| index.over(of_file)).await;
        read.unwrap_or_else(|_| self.settings_in_memory())
    }

    /// Returns the settings, all that is stored by now among them.
    ///
    /// # Errors
    ///
    /// Refuses when NATS is away.
    pub(crate) async fn settings_now(&self) -> Result<Settings, Refusal> {
        let (Inner { bridge, settings, .. }, of_file) = (&*self.0, self.file_settings());
        Ok(settings.read_now(bridge, |index| index.over(of_file)).await?)
    }

    /// Returns the settings as they are in memory.
    pub(crate) fn settings_in_memory(&self) -> Settings {
        let of_file = self.file_settings();
        self.0.settings.peek(|index| index.over(of_file))
    }

    /// Since when a view that is read on all the time must have been read.
    fn followed_since(&self) -> Instant {
        let followed = followed_until(Instant::now());
        self.0.changed_at.lock().map_or(followed, |changed| changed.max(followed))
    }

    /// Reads on again and again, sessions as soon as they change. Never ends.
    async fn keep_up(&self) {
        let Inner { bridge, accounts, sessions, settings, shares, .. } = &*self.0;
        tokio::join!(accounts.forget(), sessions.forget(), settings.forget(), shares.forget());
        let read_on = async {
            loop {
                let read = tokio::try_join!(
                    accounts.catch_up(bridge),
                    sessions.catch_up(bridge),
                    settings.catch_up(bridge),
                    shares.catch_up(bridge)
                );
                if let Err(error) = read {
                    log::debug!(error:%; "views are not read on");
                }
                sleep(READ_ON).await;
            }
        };
        let follow = bridge.watch(Bucket::Sessions, ">", async || {
            let read = sessions.catch_up(bridge).await;
            sleep(GATHER).await;
            read.is_ok()
        });
        tokio::join!(read_on, follow);
    }
}

/// When a view must have been read that is good at `now` because it is read on all the time.
fn followed_until(now: Instant) -> Instant {
    now.checked_sub(FOLLOWED_WITHIN).unwrap_or(now)
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
