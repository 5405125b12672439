//! Requests of operators and the answers to them.

use std::fmt;

use serde::{Deserialize, Serialize};
use stream_protocol::{AgentId, Role, SessionId, ShareId, Status, Timestamp};

use crate::accounts::{Account, AccountLimits};
use crate::session_summary::SessionSummary;
use crate::share_record::Share;

/// A request: `{"v":1,"op":"account.create",…}`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(tag = "op")]
pub enum Request {
    #[serde(rename = "account.create")]
    CreateAccount {
        name: String,
        expires_at: Option<Timestamp>,
        /// Whether it may look after the deployment.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        operator: bool,
        #[serde(flatten)]
        limits: AccountLimits,
    },
    #[serde(rename = "account.delete")]
    DeleteAccount {
        name: String,
        /// Whether its sessions end, too.
        #[serde(default)]
        sessions: bool,
    },
    /// Answers as `account.create` does.
    #[serde(rename = "account.rotate")]
    RotateAccount {
        name: String,
        /// How long the token before stays good, in seconds.
        #[serde(default)]
        overlap_s: u64,
    },
    #[serde(rename = "session.delete")]
    DeleteSession {
        id: String,
        /// Whether a record that this version cannot read is deleted, too.
        #[serde(default)]
        unreadable: bool,
    },
    #[serde(rename = "account.list")]
    ListAccounts,
    /// Answers [`SessionExplanation`](crate::explanation::SessionExplanation).
    #[serde(rename = "session.explain")]
    ExplainSession { id: String },
    #[serde(rename = "session.list")]
    ListSessions,
    /// Answers [`CreatedShare`].
    #[serde(rename = "share.create")]
    CreateShare { session: String, role: String, description: String, expiry_at: Option<Timestamp> },
    #[serde(rename = "share.delete")]
    DeleteShare { id: String },
    #[serde(rename = "share.list")]
    ListShares { session: Option<String> },
    /// Answers [`ShareInfo`] after the change.
    #[serde(rename = "share.update")]
    UpdateShare { id: String, description: Option<String>, expiry_at: Option<Timestamp> },
    /// The requests about tokens that every service answers.
    #[serde(untagged)]
    Token(stream_tokens::Request),
}

/// The token of a new account.
#[derive(Deserialize, Serialize)]
pub(crate) struct CreatedAccount {
    pub(crate) token: String,
}

impl fmt::Debug for CreatedAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CreatedAccount([redacted])")
    }
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct AccountList {
    pub(crate) accounts: Vec<AccountInfo>,
}

/// An account as operators see it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "Account"))]
pub struct AccountInfo {
    pub name: String,
    pub created_at: Timestamp,
    /// `None` is never.
    pub expires_at: Option<Timestamp>,
    /// To the hour; `None` is never.
    #[serde(default)]
    pub last_used_at: Option<Timestamp>,
    /// Until when the token before the present one is good, if there is one.
    #[serde(default)]
    pub replaced_until: Option<Timestamp>,
    /// Whether it may look after the deployment.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub operator: bool,
    #[serde(flatten)]
    pub limits: AccountLimits,
}

impl AccountInfo {
    pub(crate) fn of(account: &Account) -> Self {
        Self {
            name: account.name.as_str().to_owned(),
            created_at: account.created_at,
            expires_at: account.expires_at,
            last_used_at: account.last_used_at,
            replaced_until: account.former_token.as_ref().map(|former| former.until),
            operator: account.operator,
            limits: account.limits,
        }
    }
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct SessionList {
    pub(crate) sessions: Vec<SessionInfo>,
}

/// A session as operators see it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct SessionInfo {
    pub id: SessionId,
    pub app: String,
    pub status: Status,
    /// Why it has this status; may be empty.
    pub message: String,
    /// `None` until an agent has claimed it.
    pub agent: Option<AgentId>,
    pub created_at: Timestamp,
}

impl SessionInfo {
    pub(crate) fn of(session: &SessionSummary) -> Self {
        Self {
            message: session.message.clone(),
            id: session.id.clone(),
            app: session.app.clone(),
            status: session.status,
            agent: session.owner.clone(),
            created_at: session.created_at,
        }
    }
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct DeletedSession {
    pub(crate) status: Status,
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct ShareList {
    pub(crate) shares: Vec<ShareInfo>,
}

/// A share as operators see it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ShareInfo {
    pub id: ShareId,
    pub session: SessionId,
    /// The role in which its link joins.
    pub role: Role,
    pub description: String,
    pub created_at: Timestamp,
    pub expiry_at: Timestamp,
}

impl ShareInfo {
    pub(crate) fn of(share: &Share) -> Self {
        Self {
            id: share.id.clone(),
            session: share.session_id.clone(),
            role: share.role,
            description: share.description.clone(),
            created_at: share.created_at,
            expiry_at: share.expiry_at,
        }
    }
}

/// A new share and its link, which holds the token.
#[derive(Deserialize, Serialize)]
pub struct CreatedShare {
    pub id: ShareId,
    pub url: String,
}

impl fmt::Debug for CreatedShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreatedShare").field("id", &self.id).field("url", &"[redacted]").finish()
    }
}

#[cfg(test)]
mod tests {
    use stream_protocol::Versioned;

    use super::*;

    #[test]
    fn a_request_names_its_operation_beside_its_members() {
        let request = Request::CreateAccount {
            name: "a".into(),
            expires_at: None,
            operator: false,
            limits: AccountLimits::default(),
        };
        let text = String::from_utf8(Versioned::encode(request)).unwrap();
        let expected = r#"{"v":1,"op":"account.create","name":"a","expires_at":null}"#;
        assert_eq!(text, expected);

        let parse = |text: &str| Versioned::<Request>::decode(text.as_bytes());
        let list = parse(r#"{"v":1,"op":"account.list"}"#).unwrap();
        assert!(matches!(list, Request::ListAccounts));
        assert!(parse(r#"{"v":1,"op":"account.steal"}"#).is_err());
    }

    #[test]
    fn the_token_does_not_show_in_debug_output() {
        assert!(!format!("{:?}", CreatedAccount { token: "s3cret".into() }).contains("s3cret"));
        let share = CreatedShare { id: ShareId::random(), url: "s3cret".into() };
        assert!(!format!("{share:?}").contains("s3cret"));
    }
}
