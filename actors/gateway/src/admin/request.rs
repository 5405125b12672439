//! What operators and the gateway say to each other.

use std::fmt;

use serde::{Deserialize, Serialize};
use stream_protocol::{AgentId, SessionDocument, SessionId, Status};

/// A request: `{"v":1,"op":"account.create",…}`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(tag = "op")]
pub enum Request {
    #[serde(rename = "account.create")]
    CreateAccount { name: String, expires_at: Option<u64> },
    #[serde(rename = "account.delete")]
    DeleteAccount { name: String },
    #[serde(rename = "session.delete")]
    DeleteSession { id: String },
    #[serde(rename = "account.list")]
    ListAccounts,
    #[serde(rename = "session.list")]
    ListSessions,
    /// What every service answers about its tokens.
    #[serde(untagged)]
    Token(stream_tokens::Request),
}

/// The token of a new account.
#[derive(Deserialize, Serialize)]
pub(crate) struct Fresh {
    pub(crate) token: String,
}

impl fmt::Debug for Fresh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fresh([redacted])")
    }
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct AccountList {
    pub(crate) accounts: Vec<AccountInfo>,
}

/// What the operator sees of an account; times in Unix seconds.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct AccountInfo {
    pub name: String,
    pub created_at: u64,
    /// `None` is never.
    pub expires_at: Option<u64>,
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct SessionList {
    pub(crate) sessions: Vec<SessionInfo>,
}

/// What the operator sees of a session; times in Unix seconds.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct SessionInfo {
    pub id: SessionId,
    pub app: String,
    pub status: Status,
    /// Why it has this status; may be empty.
    pub message: String,
    /// `None` until an agent has claimed it.
    pub agent: Option<AgentId>,
    pub created_at: u64,
}

impl SessionInfo {
    pub(crate) fn of(document: SessionDocument) -> Self {
        Self {
            message: document.message().to_owned(),
            id: document.id,
            app: document.request.app,
            status: document.status,
            agent: document.owner.map(|owner| owner.agent),
            created_at: document.created_at,
        }
    }
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct SessionEnd {
    pub(crate) status: Status,
}

#[cfg(test)]
mod tests {
    use stream_protocol::Versioned;

    use super::*;

    #[test]
    fn a_request_names_its_operation_beside_its_members() {
        let request = Request::CreateAccount { name: "a".into(), expires_at: None };
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
        assert!(!format!("{:?}", Fresh { token: "s3cret".into() }).contains("s3cret"));
    }
}
