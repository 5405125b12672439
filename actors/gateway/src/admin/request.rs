//! What is said on the operator's socket.

use std::fmt;

use serde::{Deserialize, Serialize};
use stream_protocol::{Refusal, Versioned};

/// A request: `{"v":1,"op":"account.create",…}`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(tag = "op")]
pub(crate) enum Request {
    #[serde(rename = "account.create")]
    CreateAccount { name: String, expires_at: Option<u64> },
    #[serde(rename = "account.delete")]
    DeleteAccount { name: String },
    #[serde(rename = "account.list")]
    ListAccounts,
}

impl Request {
    pub(crate) fn line(&self) -> Vec<u8> {
        let mut line = Versioned::encode(self);
        line.push(b'\n');
        line
    }

    pub(crate) fn parse(line: &[u8]) -> Result<Self, Refusal> {
        Versioned::decode(line)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_one_line_that_names_its_operation() {
        let request = Request::CreateAccount { name: "a\nb".into(), expires_at: None };
        let line = String::from_utf8(request.line()).unwrap();
        assert_eq!(line.matches('\n').count(), 1);
        assert!(line.contains(r#""op":"account.create""#) && line.ends_with('\n'));

        let parsed = Request::parse(br#"{"v":1,"op":"account.list"}"#).unwrap();
        assert!(matches!(parsed, Request::ListAccounts));
        assert!(Request::parse(br#"{"v":1,"op":"account.steal"}"#).is_err());
    }

    #[test]
    fn the_token_does_not_show_in_debug_output() {
        assert!(!format!("{:?}", Fresh { token: "s3cret".into() }).contains("s3cret"));
    }
}
