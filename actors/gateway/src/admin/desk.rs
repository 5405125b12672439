use std::time::Duration;

use serde_json::{Value, json};
use stream_bridge::{Bridge, BridgeError};
use stream_protocol::subjects::{self, Bucket};
use stream_protocol::{Ask, Code, Refusal, SessionDocument, SessionId, Status, Terminate};
use stream_tokens::Tokens;

use super::request::{
    AccountInfo, AccountList, Fresh, Request, SessionEnd, SessionInfo, SessionList,
};
use crate::accounts::{self, Account, AccountName};
use crate::answer::{Refused, malformed};
use crate::documents;

/// How long the owner of a session may take to answer; less than an operator waits.
const OWNER_DEADLINE: Duration = Duration::from_secs(5);

/// What is needed to do what operators ask.
#[derive(Clone)]
pub struct Desk {
    pub bridge: Bridge,
    pub tokens: Tokens,
}

impl Desk {
    /// Does what is asked, or says why not.
    pub async fn answer(self, request: Request) -> Result<Value, Refusal> {
        Ok(match request {
            Request::CreateAccount { name, expires_at } => {
                json!(self.create_account(name, expires_at).await?)
            }
            Request::DeleteAccount { name } => json!(self.delete_account(name).await?),
            Request::DeleteSession { id } => json!(self.delete_session(&id).await?),
            Request::ListAccounts => json!(self.list_accounts().await?),
            Request::ListSessions => json!(self.list_sessions().await?),
            // A token for AMS opens the agents.
            Request::Token(stream_tokens::Request::Create { .. }) => {
                return Err(malformed("the gateway's tokens belong to accounts: account create"));
            }
            Request::Token(request) => self.tokens.answer(request).await?,
        })
    }

    async fn create_account(
        &self,
        name: String,
        expires_at: Option<u64>,
    ) -> Result<Fresh, Refusal> {
        let name = AccountName::try_from(name)?;
        let sentence = format!("account {} created", name.as_str());
        let token = accounts::create(&self.bridge, &self.tokens, name, expires_at).await?;
        log::info!("{sentence}");
        Ok(Fresh { token: token.to_string() })
    }

    async fn delete_account(&self, name: String) -> Result<Ask, Refusal> {
        let name = AccountName::try_from(name)?;
        accounts::delete(&self.bridge, &name).await?;
        log::info!("account {} deleted", name.as_str());
        Ok(Ask {})
    }

    async fn list_accounts(&self) -> Result<AccountList, Refusal> {
        let accounts = accounts::list(&self.bridge).await?;
        let info = |account: Account| AccountInfo {
            name: account.name.as_str().to_owned(),
            created_at: account.created_at,
            expires_at: account.expires_at,
        };
        Ok(AccountList { accounts: accounts.into_iter().map(info).collect() })
    }

    async fn list_sessions(&self) -> Result<SessionList, Refusal> {
        let entries = self.bridge.list::<SessionDocument>(Bucket::Sessions).await;
        let entries = entries.map_err(|error| error.refusal())?;
        let mut sessions: Vec<_> =
            entries.into_iter().map(|(_, entry)| SessionInfo::of(entry.value)).collect();
        sessions.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        Ok(SessionList { sessions })
    }

    async fn delete_session(&self, id: &str) -> Result<SessionEnd, Refusal> {
        let id = id.parse::<SessionId>().map_err(|error| malformed(error.to_string()))?;
        let cause = "deleted by an operator".to_owned();
        let ended = documents::end(&self.bridge, &id, Status::Terminated, &cause).await;
        let document = ended.map_err(|refused| match refused {
            Refused::Refusal(refusal) => refusal,
            other => Refusal::new(Code::Failed, other.to_string()),
        })?;
        log::info!("session {id} {cause}");
        if document.status.is_final() {
            return Ok(SessionEnd { status: document.status });
        }
        let (subject, terminate) = (subjects::terminate(&id), Terminate { cause });
        match self.bridge.ask::<_, Ask>(subject, &terminate, OWNER_DEADLINE).await {
            // The document says it as well: an owner that is away ends the session when it returns.
            Ok(Ask {}) | Err(BridgeError::NoResponder | BridgeError::TimedOut) => {
                Ok(SessionEnd { status: Status::Terminating })
            }
            Err(error) => Err(error.refusal()),
        }
    }
}
