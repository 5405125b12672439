use std::str::FromStr;
use std::time::Duration;

use serde_json::{Value, json};
use stream_protocol::{Empty, IdError, Refusal, SessionId, Status, Timestamp};
use stream_tokens::Tokens;

use super::request::{
    AccountInfo, AccountList, CreatedAccount, CreatedShare, DeletedSession, Request, SessionInfo,
    SessionList, ShareInfo, ShareList,
};
use crate::accounts::{self, AccountLimits, AccountName};
use crate::error::bad_request;
use crate::explanation::{self, SessionExplanation};
use crate::owner::Termination;
use crate::sessions::termination::{Progress, end_session};
use crate::views::{SessionIndex, Views};
use crate::{account_removal, account_rotation, session_documents, shares};

/// How long the owner of a session may take to answer; less than the admin socket's client waits.
const OWNER_DEADLINE: Duration = Duration::from_secs(5);

/// Carries out the requests of operators.
#[derive(Clone)]
pub struct AdminService {
    pub views: Views,
    pub tokens: Tokens,
    /// What the URL of the page begins with, if a public URL is configured.
    pub page_base: Option<String>,
}

impl AdminService {
    /// Carries out `request` and returns its answer.
    pub async fn handle(self, request: Request) -> Result<Value, Refusal> {
        let views = self.views.clone();
        let answer = self.answer(request).await;
        views.note_change();
        answer
    }

    async fn answer(self, request: Request) -> Result<Value, Refusal> {
        Ok(match request {
            Request::CreateAccount { name, expires_at, operator, limits } => {
                json!(self.create_account(name, expires_at, operator, limits).await?)
            }
            Request::DeleteAccount { name, sessions } => {
                json!(self.delete_account(name, sessions).await?)
            }
            Request::RotateAccount { name, overlap_s } => {
                json!(self.rotate_account(name, Duration::from_secs(overlap_s)).await?)
            }
            Request::DeleteSession { id, unreadable } => {
                json!(self.delete_session(&id, unreadable).await?)
            }
            Request::ExplainSession { id } => json!(self.explain_session(&id).await?),
            Request::ListAccounts => json!(self.list_accounts().await?),
            Request::ListSessions => json!(self.list_sessions().await?),
            Request::CreateShare { session, role, description, expiry_at } => {
                json!(self.create_share(&session, &role, description, expiry_at).await?)
            }
            Request::DeleteShare { id } => {
                shares::end(self.views.bridge(), &self.tokens, &parse(&id)?).await?;
                log::info!(share:% = id; "share deleted by an operator");
                json!(Empty {})
            }
            Request::ListShares { session } => {
                let session = session.as_deref().map(parse).transpose()?;
                let shares = shares::all(&self.views, session.as_ref()).await?;
                json!(ShareList {
                    shares: shares.iter().map(|share| ShareInfo::of(share)).collect()
                })
            }
            Request::UpdateShare { id, description, expiry_at } => {
                let patch = shares::SharePatch { expiry_at, description }.checked()?;
                let share =
                    shares::edit(&self.views, &self.tokens, &parse(&id)?, &patch, None).await?;
                log::info!(share:% = id; "share changed by an operator");
                json!(ShareInfo::of(&share))
            }
            // A token for AMS opens the agents.
            Request::Token(stream_tokens::Request::Create { .. }) => {
                return Err(bad_request("the gateway's tokens belong to accounts: account create"));
            }
            Request::Token(request) => self.tokens.answer(request).await?,
        })
    }

    async fn create_account(
        &self,
        name: String,
        expires_at: Option<Timestamp>,
        operator: bool,
        limits: AccountLimits,
    ) -> Result<CreatedAccount, Refusal> {
        let name = AccountName::try_from(name)?;
        let account = name.as_str().to_owned();
        let bridge = self.views.bridge();
        let tokens = &self.tokens;
        let token = accounts::create(bridge, tokens, name, expires_at, operator, limits).await?;
        log::info!(account:%, operator; "account created");
        Ok(CreatedAccount { token: token.to_string() })
    }

    async fn delete_account(&self, name: String, sessions: bool) -> Result<Empty, Refusal> {
        let name = AccountName::try_from(name)?;
        account_removal::delete(&self.views, &self.tokens, &name, sessions).await?;
        log::info!(account = name.as_str(); "account deleted");
        Ok(Empty {})
    }

    async fn rotate_account(
        &self,
        name: String,
        overlap: Duration,
    ) -> Result<CreatedAccount, Refusal> {
        let name = AccountName::try_from(name)?;
        let token = account_rotation::rotate(&self.views, &self.tokens, &name, overlap).await?;
        log::info!(account = name.as_str(); "account has another token");
        Ok(CreatedAccount { token: token.to_string() })
    }

    async fn list_accounts(&self) -> Result<AccountList, Refusal> {
        let accounts = accounts::list(self.views.bridge()).await?;
        Ok(AccountList { accounts: accounts.iter().map(AccountInfo::of).collect() })
    }

    async fn list_sessions(&self) -> Result<SessionList, Refusal> {
        let infos = |sessions: &SessionIndex| {
            sessions.all().iter().map(|session| SessionInfo::of(session)).collect()
        };
        let sessions = self.views.sessions(infos).await?;
        Ok(SessionList { sessions })
    }

    async fn explain_session(&self, id: &str) -> Result<SessionExplanation, Refusal> {
        explanation::explain(self.views.bridge(), parse(id)?).await
    }

    async fn create_share(
        &self,
        session: &str,
        role: &str,
        description: String,
        expiry_at: Option<Timestamp>,
    ) -> Result<CreatedShare, Refusal> {
        let Some(base) = &self.page_base else {
            return Err(bad_request("links need gateway.public_url"));
        };
        let (session, role) = (parse(session)?, shares::role(Some(role))?);
        let new = shares::NewShare { role, description, expiry_at }.checked()?;
        let (views, tokens) = (&self.views, &self.tokens);
        let (share, url) = shares::make(views, tokens, &session, new, (None, None), base).await?;
        log::info!(share:% = share.id, session:%; "share created by an operator");
        Ok(CreatedShare { id: share.id, url })
    }

    async fn delete_session(&self, id: &str, unreadable: bool) -> Result<DeletedSession, Refusal> {
        let id: SessionId = parse(id)?;
        let (bridge, tokens) = (self.views.bridge(), &self.tokens);
        if unreadable && session_documents::remove_unreadable(bridge, tokens, &id).await? {
            return Ok(DeletedSession { status: Status::Terminated });
        }
        let cause = "deleted by an operator".to_owned();
        let ended = end_session(bridge, tokens, &id, cause, OWNER_DEADLINE).await?;
        let status = match ended {
            Progress::Ended(status) => status,
            // The document says it as well: an owner that is away ends the session when it returns.
            Progress::Ending(Termination::Begun | Termination::OwnerAway) => Status::Terminating,
        };
        Ok(DeletedSession { status })
    }
}

fn parse<T: FromStr<Err = IdError>>(id: &str) -> Result<T, Refusal> {
    id.parse().map_err(|error: IdError| bad_request(error.to_string()))
}
