//! The record of a service account. Pure.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use stream_protocol::{Maker, Refusal, Timestamp, TokenKind};

use crate::error::bad_request;

/// The record of an account. It holds the id of the token, never the token.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Account {
    pub(crate) name: AccountName,
    pub(crate) token_id: String,
    /// The id of the token that it was made with; `None` while that is its token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) first_token_id: Option<String>,
    /// The token before, while it is good beside the present one or not yet revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) former_token: Option<FormerToken>,
    /// When it was used last, to the hour; `None` is never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last_used_at: Option<Timestamp>,
    pub(crate) created_at: Timestamp,
    /// `None` is never.
    pub(crate) expires_at: Option<Timestamp>,
    /// Whether it may look after the deployment, beside what every account may.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) operator: bool,
    #[serde(flatten)]
    pub(crate) limits: AccountLimits,
}

/// A token that was replaced.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct FormerToken {
    pub(crate) id: String,
    /// From then on it opens nothing.
    pub(crate) until: Timestamp,
}

impl FormerToken {
    pub(crate) fn is_over(&self, now: Timestamp) -> bool {
        now >= self.until
    }
}

/// What an account may do with sessions.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct AccountLimits {
    /// Whether it sees no sessions but those that it made.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub own_sessions: bool,
    /// How many sessions it may have that have not ended; `None` is any number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_sessions: Option<u32>,
}

impl Account {
    /// What tells it from every other account, also one of the same name before it: the id of the
    /// token that it was made with, whatever its token is now.
    pub(crate) fn id(&self) -> &str {
        self.first_token_id.as_deref().unwrap_or(&self.token_id)
    }

    /// Returns the kind of its tokens.
    pub(crate) fn token_kind(&self) -> TokenKind {
        token_kind(self.operator)
    }

    /// Whether it is the account that `maker` names. One of the same name before it was another.
    pub(crate) fn is(&self, maker: Option<&Maker>) -> bool {
        maker
            .is_some_and(|maker| maker.account == self.name.as_str() && maker.token_id == self.id())
    }

    /// Whether the token of this id is one of the account at `now`, and until when if that is
    /// limited by the account.
    pub(crate) fn opens(&self, token_id: &str, now: Timestamp) -> Option<Option<Timestamp>> {
        if token_id == self.token_id {
            return Some(None);
        }
        let former = self.former_token.as_ref().filter(|former| former.id == token_id)?;
        (!former.is_over(now)).then_some(Some(former.until))
    }
}

/// Returns the kind of the tokens of an account.
pub(crate) fn token_kind(operator: bool) -> TokenKind {
    if operator { TokenKind::Operator } else { TokenKind::Account }
}

/// A name of 1 to 64 characters of A-Z, a-z, 0-9, '_', '.', '@' and '-'.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String")]
pub(crate) struct AccountName(String);

impl AccountName {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the name as a key of the store, whose keys have no '@' and no '.' at the ends.
    pub(crate) fn key(&self) -> String {
        self.0.replace('@', "=40").replace('.', "=2E")
    }
}

impl TryFrom<String> for AccountName {
    type Error = Refusal;

    fn try_from(text: String) -> Result<Self, Refusal> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_.@-".contains(&b);
        if (1..=64).contains(&text.len()) && text.bytes().all(allowed) {
            return Ok(Self(text));
        }
        let sentence =
            "an account name has 1 to 64 characters of A-Z, a-z, 0-9, '_', '.', '@', '-'";
        Err(bad_request(sentence))
    }
}

impl FromStr for AccountName {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        Self::try_from(text.to_owned())
    }
}

#[cfg(test)]
impl Account {
    /// Returns an account that was made at 100 s and never ends.
    pub(crate) fn sample(name: &str) -> Self {
        Self {
            name: name.parse().unwrap(),
            token_id: "first".to_owned(),
            first_token_id: None,
            former_token: None,
            last_used_at: None,
            created_at: 100.into(),
            expires_at: None,
            operator: false,
            limits: AccountLimits::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_of_earlier_versions_is_no_operator() {
        let before = r#"{"name":"anna","token_id":"t","created_at":1,"expires_at":null}"#;
        let account: Account = serde_json::from_str(before).unwrap();
        assert_eq!(account.token_kind(), TokenKind::Account);
        assert_eq!(serde_json::to_string(&account).unwrap(), before);
        let operator = Account { operator: true, ..account };
        assert!(serde_json::to_string(&operator).unwrap().contains(r#""operator":true"#));
        assert_eq!(operator.token_kind(), TokenKind::Operator);
    }

    #[test]
    fn account_names_are_checked() {
        for name in ["a", "team.stream@example.com", "x_Y-9", &"n".repeat(64)] {
            assert!(name.parse::<AccountName>().is_ok(), "{name} was refused");
        }
        for name in ["", "a b", "a/b", "a*", "a>", "a\n", "é", "a=40", &"n".repeat(65)] {
            assert!(name.parse::<AccountName>().is_err(), "{name} passed");
        }
    }

    #[test]
    fn different_names_have_different_keys_that_the_store_takes() {
        let key = |name: &str| name.parse::<AccountName>().unwrap().key();
        assert_eq!(key("a@b.c"), "a=40b=2Ec");
        assert_eq!(key(".a."), "=2Ea=2E");
        assert_ne!(key("a.b"), key("a@b"));
    }
}
