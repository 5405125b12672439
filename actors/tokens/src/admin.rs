//! The requests that operators send to a running service about tokens, and the answers.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stream_protocol::{Refusal, RefusalCode, Timestamp, TokenKind};

use crate::{Mint, Revocation, Tokens, TokensError};

/// A request: `{"op":"token.create",…}`.
#[derive(Deserialize, Serialize)]
#[serde(tag = "op")]
pub enum Request {
    /// Makes a token of the kind `scope`, `ams` or `monitor`; answers [`Created`].
    #[serde(rename = "token.create")]
    Create { scope: String, subject: String, expires_at: Option<Timestamp> },
    /// Answers an [`Inspection`](crate::Inspection).
    #[serde(rename = "token.inspect")]
    Inspect { token: String },
    /// Answers a list of [`KeyInfo`](crate::KeyInfo).
    #[serde(rename = "token.keys")]
    Keys {},
    #[serde(rename = "token.unrevoke", alias = "token.pardon")]
    Unrevoke { what: Revocation },
    #[serde(rename = "token.retire")]
    Retire { kid: String },
    #[serde(rename = "token.revoke")]
    Revoke { what: Revocation, until: Option<Timestamp> },
    /// Answers the [`KeyInfo`](crate::KeyInfo) of the new key.
    #[serde(rename = "token.rotate")]
    Rotate { lead_s: u64 },
}

/// Prints the operation alone: a token may be in the rest.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Create { .. } => "Create",
            Self::Inspect { .. } => "Inspect",
            Self::Keys {} => "Keys",
            Self::Unrevoke { .. } => "Unrevoke",
            Self::Retire { .. } => "Retire",
            Self::Revoke { .. } => "Revoke",
            Self::Rotate { .. } => "Rotate",
        })
    }
}

/// A token made for an operator, who sees it this once.
#[derive(Deserialize, Serialize)]
pub struct Created {
    pub token: String,
    /// What it is revoked by.
    pub id: String,
}

impl Tokens {
    /// Carries out what an operator asks.
    ///
    /// # Errors
    ///
    /// The refusal is `malformed` for what cannot be, `unavailable` for what cannot be now.
    pub async fn answer(self, request: Request) -> Result<Value, Refusal> {
        self.handle(request).await.map_err(|error| {
            let code = match error {
                TokensError::Refused(_) | TokensError::Unmintable(_) => RefusalCode::Malformed,
                _ => RefusalCode::Unavailable,
            };
            Refusal::new(code, error.to_string())
        })
    }

    async fn handle(&self, request: Request) -> Result<Value, TokensError> {
        Ok(match request {
            Request::Create { scope, subject, expires_at } => {
                let kind = match scope.parse() {
                    Ok(kind @ (TokenKind::Ams | TokenKind::Monitor)) => kind,
                    _ => return Err(TokensError::Unmintable("the scope is ams or monitor")),
                };
                let minted = self.mint(Mint::new(kind, subject).expires(expires_at)).await?;
                json!(Created { token: minted.token.to_string(), id: minted.id })
            }
            Request::Inspect { token } => json!(self.inspect(&token).await?),
            Request::Keys {} => json!(self.keys().await?),
            Request::Unrevoke { what } => {
                self.unrevoke(what).await?;
                json!({})
            }
            Request::Retire { kid } => {
                self.retire(&kid).await?;
                json!({})
            }
            Request::Revoke { what, until } => {
                self.revoke(what, until).await?;
                json!({})
            }
            Request::Rotate { lead_s } => json!(self.rotate(Duration::from_secs(lead_s)).await?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_as_it_was_written() {
        let what = Revocation::Account("a".into());
        let text = serde_json::to_string(&Request::Revoke { what, until: None }).unwrap();
        assert_eq!(text, r#"{"op":"token.revoke","what":{"account":"a"},"until":null}"#);
        let read: Request = serde_json::from_str(&text).unwrap();
        assert!(matches!(read, Request::Revoke { what: Revocation::Account(_), until: None }));
        assert!(serde_json::from_str::<Request>(r#"{"op":"token.steal"}"#).is_err());
    }

    #[test]
    fn no_token_shows_in_debug_output() {
        assert_eq!(format!("{:?}", Request::Inspect { token: "s3cret".into() }), "Inspect");
    }
}
