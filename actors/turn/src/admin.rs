//! The requests that operators send to a running service about relays, and the answers.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stream_protocol::{RefusalCode, SessionId, Timestamp};

use crate::{Peer, ProbeError, ProbeReport, ProbeTimings, RelayState, Rotation, Turn, TurnError};

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
    /// Answers a list of [`ProbeRow`](crate::ProbeRow)s.
    #[serde(rename = "turn.probe")]
    Probe {},
    /// Answers the relays that still accept the old secret.
    #[serde(rename = "turn.retire")]
    Retire { pool: String },
    /// Answers a [`Rotated`].
    #[serde(rename = "turn.rotate")]
    Rotate { pool: String },
}

/// How one relay is, over one of its transports.
#[derive(Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ProbeRow {
    pub pool: String,
    pub server: String,
    /// `udp`, `tcp` or `tls`.
    #[serde(rename = "way")]
    pub transport: String,
    /// Microseconds, or why not.
    pub binding: Result<u64, String>,
    pub allocate: Result<u64, String>,
    /// `good`, `withheld` or `drained`.
    #[serde(rename = "verdict")]
    pub state: String,
}

/// How a rotation ended.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rotated {
    /// When the old secret may be removed.
    Switched { old_until: Timestamp },
    /// Nothing has changed; these relays do not accept `secret` yet, and why.
    Waiting { secret: String, refusals: Vec<(String, String)> },
}

impl Turn {
    /// Carries out what an operator asks.
    ///
    /// # Errors
    ///
    /// The refusal is `malformed` for what cannot be, `unavailable` for what cannot be now.
    pub async fn answer(self, request: Request) -> Result<Value, stream_protocol::Refusal> {
        self.handle(request).await.map_err(|error| {
            let code = match error {
                TurnError::Refused(_) => RefusalCode::Malformed,
                _ => RefusalCode::Unavailable,
            };
            stream_protocol::Refusal::new(code, error.to_string())
        })
    }

    async fn handle(&self, request: Request) -> Result<Value, TurnError> {
        Ok(match request {
            Request::Credentials { session, region } => {
                json!(self.issue(&session, Peer::Client, &region).await?)
            }
            Request::Drain { server, drained } => {
                self.drain(&server, drained).await?;
                json!({})
            }
            Request::Probe {} => {
                let probed = self.probe().await?;
                json!(probed.into_iter().map(ProbeRow::from).collect::<Vec<_>>())
            }
            Request::Retire { pool } => json!(self.retire(&pool).await?),
            Request::Rotate { pool } => json!(Rotated::from(self.rotate(&pool).await?)),
        })
    }
}

impl From<ProbeReport> for ProbeRow {
    fn from(probed: ProbeReport) -> Self {
        let ProbeReport {
            pool,
            server,
            transport,
            timings: ProbeTimings { binding, allocate },
            state,
        } = probed;
        let micros = |time: Result<Duration, ProbeError>| match time {
            Ok(time) => Ok(u64::try_from(time.as_micros()).unwrap_or(u64::MAX)),
            Err(error) => Err(error.to_string()),
        };
        let state = match state {
            RelayState::Healthy => "good",
            RelayState::Withheld => "withheld",
            RelayState::Drained => "drained",
        };
        let (binding, allocate) = (micros(binding), micros(allocate));
        Self {
            pool,
            server,
            transport: transport.to_owned(),
            binding,
            allocate,
            state: state.to_owned(),
        }
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
        let probed = ProbeReport {
            pool: "default".into(),
            server: "turn:a".into(),
            transport: "udp",
            timings: ProbeTimings {
                binding: Ok(Duration::from_micros(400)),
                allocate: Err(ProbeError::Refused { code: 401, reason: "Unauthorized".into() }),
            },
            state: RelayState::Withheld,
        };
        let text = json!(ProbeRow::from(probed)).to_string();
        let row: ProbeRow = serde_json::from_str(&text).unwrap();
        assert_eq!((row.binding, row.state.as_str()), (Ok(400), "withheld"));
        assert_eq!(row.allocate, Err("it refuses: 401 Unauthorized".to_owned()));
    }
}
