//! What operators ask of the gateway over its UNIX socket: service accounts, sessions and shares.
//! Accounts are created and deleted here and nowhere else.
//!
//! `stream-admin` brings the socket; [`AdminService`] answers what is asked there, [`Client`] asks
//! it.

mod request;
mod service;

use std::path::PathBuf;
use std::time::Duration;

use stream_protocol::{Empty, Status, Timestamp};

pub use crate::account_record::AccountLimits;
pub use crate::diagnosis::Verdict;
pub use crate::explanation::SessionExplanation;
pub use crate::timeline::Step;
pub use request::{AccountInfo, CreatedShare, Request, SessionInfo, ShareInfo};
pub use service::AdminService;
pub use stream_admin::ClientError as AdminError;

use request::{AccountList, CreatedAccount, DeletedSession, SessionList, ShareList};

/// The client of the gateway's admin socket on this machine.
#[derive(Clone, Debug)]
pub struct Client(stream_admin::Client);

impl Client {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(stream_admin::Client::new(path))
    }

    /// Creates an account and returns its token, which is shown this once. The token expires at
    /// `expires`, if given.
    ///
    /// # Errors
    ///
    /// Refuses a name that is taken.
    pub async fn create_account(
        &self,
        name: &str,
        expires: Option<Timestamp>,
        limits: AccountLimits,
    ) -> Result<String, AdminError> {
        self.create(name, expires, false, limits).await
    }

    /// Creates an account as [`create_account`](Self::create_account) does, which may also look
    /// after the deployment.
    ///
    /// # Errors
    ///
    /// Refuses a name that is taken.
    pub async fn create_operator(
        &self,
        name: &str,
        expires: Option<Timestamp>,
        limits: AccountLimits,
    ) -> Result<String, AdminError> {
        self.create(name, expires, true, limits).await
    }

    async fn create(
        &self,
        name: &str,
        expires_at: Option<Timestamp>,
        operator: bool,
        limits: AccountLimits,
    ) -> Result<String, AdminError> {
        let name = name.to_owned();
        let request = Request::CreateAccount { name, expires_at, operator, limits };
        let created: CreatedAccount = self.0.ask(&request).await?;
        Ok(created.token)
    }

    /// Deletes an account: its token is refused from now on, and its shares end; with `sessions`
    /// its sessions as well.
    ///
    /// # Errors
    ///
    /// Refuses a name without an account.
    pub async fn delete_account(&self, name: &str, sessions: bool) -> Result<(), AdminError> {
        let name = name.to_owned();
        let Empty {} = self.0.ask(&Request::DeleteAccount { name, sessions }).await?;
        Ok(())
    }

    /// Gives an account another token and returns it, which is shown this once. The one before ends
    /// after `overlap`; shares and sessions stay.
    ///
    /// # Errors
    ///
    /// Refuses a name without an account, and an account that has ended.
    pub async fn rotate_account(
        &self,
        name: &str,
        overlap: Duration,
    ) -> Result<String, AdminError> {
        let (name, overlap_s) = (name.to_owned(), overlap.as_secs());
        let made: CreatedAccount = self.0.ask(&Request::RotateAccount { name, overlap_s }).await?;
        Ok(made.token)
    }

    /// Returns all accounts, by name.
    pub async fn accounts(&self) -> Result<Vec<AccountInfo>, AdminError> {
        let list: AccountList = self.0.ask(&Request::ListAccounts).await?;
        Ok(list.accounts)
    }

    /// Ends a session and returns its status: `terminating` until the agent has deleted the
    /// instance. With `unreadable` a record that this version cannot read is deleted, too.
    ///
    /// # Errors
    ///
    /// Refuses a session that does not exist.
    pub async fn delete_session(&self, id: &str, unreadable: bool) -> Result<Status, AdminError> {
        let request = Request::DeleteSession { id: id.to_owned(), unreadable };
        let end: DeletedSession = self.0.ask(&request).await?;
        Ok(end.status)
    }

    /// Returns all sessions, also those that ended within the last hour, the oldest first.
    pub async fn sessions(&self) -> Result<Vec<SessionInfo>, AdminError> {
        let list: SessionList = self.0.ask(&Request::ListSessions).await?;
        Ok(list.sessions)
    }

    /// Returns all that is known of a session.
    ///
    /// # Errors
    ///
    /// Refuses a session that does not exist.
    pub async fn explain_session(&self, id: &str) -> Result<SessionExplanation, AdminError> {
        self.0.ask(&Request::ExplainSession { id: id.to_owned() }).await
    }

    /// Makes a share of a session, for `role` and until `expiry_at`.
    ///
    /// # Errors
    ///
    /// Refuses a session that is ending, and a gateway without `gateway.public_url`.
    pub async fn create_share(
        &self,
        session: &str,
        role: &str,
        description: &str,
        expiry_at: Option<Timestamp>,
    ) -> Result<CreatedShare, AdminError> {
        let (session, role) = (session.to_owned(), role.to_owned());
        let description = description.to_owned();
        self.0.ask(&Request::CreateShare { session, role, description, expiry_at }).await
    }

    /// Ends a share and closes the sockets that it opened.
    pub async fn delete_share(&self, id: &str) -> Result<(), AdminError> {
        let Empty {} = self.0.ask(&Request::DeleteShare { id: id.to_owned() }).await?;
        Ok(())
    }

    /// Returns the shares of all live sessions, or of one, the oldest first.
    pub async fn shares(&self, session: Option<String>) -> Result<Vec<ShareInfo>, AdminError> {
        let list: ShareList = self.0.ask(&Request::ListShares { session }).await?;
        Ok(list.shares)
    }

    /// Changes what is given of a share and returns the result; its link stays the same.
    pub async fn update_share(
        &self,
        id: &str,
        description: Option<String>,
        expiry_at: Option<Timestamp>,
    ) -> Result<ShareInfo, AdminError> {
        self.0.ask(&Request::UpdateShare { id: id.to_owned(), description, expiry_at }).await
    }
}
