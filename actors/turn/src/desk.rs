//! What operators say to a running service about relays, and its answers.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stream_protocol::{Code, SessionId};

use crate::{Answered, ProbeError, Probed, Rotation, Side, Turn, TurnError, Verdict};

/// A request: `{"op":"turn.probe"}`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(tag = "op")]
pub enum Request {
    /// Answers a list of [`IceServer`](stream_protocol::IceServer)s, those of `region` first.
    #[serde(rename = "turn.credentials")]
    Credentials {
        session: SessionId,
        #[serde(default)]
        region: String,
    },
    #[serde(rename = "turn.drain")]
    Drain { server: String, drained: bool },
    /// Answers a list of [`Row`]s.
    #[serde(rename = "turn.probe")]
    Probe {},
    /// Answers the relays that still accept the old secret.
    #[serde(rename = "turn.retire")]
    Retire { pool: String },
    /// Answers a [`Rotated`].
    #[serde(rename = "turn.rotate")]
    Rotate { pool: String },
}

/// How one relay is, by one of its ways.
#[derive(Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Row {
    pub pool: String,
    pub server: String,
    /// `udp`, `tcp` or `tls`.
    pub way: String,
    /// Microseconds, or why not.
    pub binding: Result<u64, String>,
    pub allocate: Result<u64, String>,
    /// `good`, `withheld` or `drained`.
    pub verdict: String,
}

/// What came of a rotation.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rotated {
    /// The old secret may go then, Unix seconds.
    Switched { old_until: u64 },
    /// Nothing has changed; these relays do not accept `secret` yet, and why.
    Waiting { secret: String, refusals: Vec<(String, String)> },
}

impl Turn {
    /// Does what an operator asks, or says why not.
    pub async fn answer(self, request: Request) -> Result<Value, stream_protocol::Refusal> {
        self.obey(request).await.map_err(|error| {
            let code = match error {
                TurnError::Refused(_) => Code::Malformed,
                _ => Code::Unavailable,
            };
            stream_protocol::Refusal::new(code, error.to_string())
        })
    }

    async fn obey(&self, request: Request) -> Result<Value, TurnError> {
        Ok(match request {
            Request::Credentials { session, region } => {
                json!(self.issue(&session, Side::Client, &region).await?)
            }
            Request::Drain { server, drained } => {
                self.drain(&server, drained).await?;
                json!({})
            }
            Request::Probe {} => {
                let probed = self.probe().await?;
                json!(probed.into_iter().map(Row::from).collect::<Vec<_>>())
            }
            Request::Retire { pool } => json!(self.retire(&pool).await?),
            Request::Rotate { pool } => json!(Rotated::from(self.rotate(&pool).await?)),
        })
    }
}

impl From<Probed> for Row {
    fn from(probed: Probed) -> Self {
        let Probed { pool, server, way, answered: Answered { binding, allocate }, verdict } =
            probed;
        let micros = |time: Result<Duration, ProbeError>| match time {
            Ok(time) => Ok(u64::try_from(time.as_micros()).unwrap_or(u64::MAX)),
            Err(error) => Err(error.to_string()),
        };
        let verdict = match verdict {
            Verdict::Good => "good",
            Verdict::Withheld => "withheld",
            Verdict::Drained => "drained",
        };
        let (binding, allocate) = (micros(binding), micros(allocate));
        Self { pool, server, way: way.to_owned(), binding, allocate, verdict: verdict.to_owned() }
    }
}

impl From<Rotation> for Rotated {
    fn from(rotation: Rotation) -> Self {
        match rotation {
            Rotation::Switched { old_until } => Self::Switched { old_until },
            Rotation::Waiting { secret, refusals } => Self::Waiting {
                secret: secret.reveal().to_owned(),
                refusals: refusals.into_iter().map(|it| (it.server, it.why.to_string())).collect(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_as_it_was_written() {
        let request = Request::Drain { server: "turn:a".into(), drained: true };
        let text = serde_json::to_string(&request).unwrap();
        assert_eq!(text, r#"{"op":"turn.drain","server":"turn:a","drained":true}"#);
        assert!(matches!(serde_json::from_str(&text), Ok(Request::Drain { drained: true, .. })));
        assert!(serde_json::from_str::<Request>(r#"{"op":"turn.around"}"#).is_err());
    }

    #[test]
    fn a_row_keeps_times_and_reasons() {
        let probed = Probed {
            pool: "default".into(),
            server: "turn:a".into(),
            way: "udp",
            answered: Answered {
                binding: Ok(Duration::from_micros(400)),
                allocate: Err(ProbeError::Refused { code: 401, reason: "Unauthorized".into() }),
            },
            verdict: Verdict::Withheld,
        };
        let text = json!(Row::from(probed)).to_string();
        let row: Row = serde_json::from_str(&text).unwrap();
        assert_eq!((row.binding, row.verdict.as_str()), (Ok(400), "withheld"));
        assert_eq!(row.allocate, Err("it refuses: 401 Unauthorized".to_owned()));
    }
}
