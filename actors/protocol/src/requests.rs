//! Bodies of the requests that gateway and agent exchange over NATS.

use serde::{Deserialize, Serialize};

use crate::{AmsInstance, IceServer, Refusal, RefusalCode, SessionId, Userdata, Versioned};

/// Asks an agent to claim and launch the session whose document is stored; answered with
/// [`ClientIce`] when AMS has accepted the launch, without waiting for the boot.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Launch {
    pub session: SessionId,
    /// Why this agent is asked and no other, for whoever wants to know later.
    #[serde(default)]
    pub placement: String,
}

/// Asks the gateways, all of them under one name, for the session of an instance that AMS launched
/// by itself; answered with [`AmsSessionCreated`] by one of them. However often and whomever it is asked,
/// one instance has one session.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct CreateAmsSession {
    /// The AMS cluster that the instance is of.
    pub cluster: String,
    /// The region of the agent that asks.
    pub region: String,
    pub instance: AmsInstance,
}

/// The session of an instance that AMS launched by itself.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct AmsSessionCreated {
    pub session: SessionId,
    /// A [draft](Userdata::draft): the agent adds where it is, and the token.
    pub userdata: Userdata,
}

/// A question without further words: its subject says everything. Answered with [`ClientIce`].
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Empty {}

/// The ICE servers for the client of a session.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ClientIce {
    pub ice_servers: Vec<IceServer>,
}

/// Asks the owner to end a session, when the document already says so. Answered with [`Empty`]
/// once the owner has begun.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Terminate {
    pub cause: String,
}

/// The answer to a request: a body under `ok`, or why not under `refused`.
#[derive(Debug, Deserialize, Serialize)]
pub struct Reply<T> {
    #[serde(skip_serializing_if = "Option::is_none")]
    ok: Option<T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<Refusal>,
}

impl<T: Serialize> Reply<T> {
    /// Returns the payload that carries `result`.
    pub fn encode(result: Result<T, Refusal>) -> Vec<u8> {
        Versioned::encode(match result {
            Ok(body) => Self { ok: Some(body), refused: None },
            Err(refusal) => Self { ok: None, refused: Some(refusal) },
        })
    }
}

impl<T: serde::de::DeserializeOwned> Reply<T> {
    /// Reads an answer; what is none counts as a failure of the other side.
    pub fn decode(bytes: &[u8]) -> Result<T, Refusal> {
        let failed = |message| Refusal::new(RefusalCode::Failed, message);
        match Versioned::<Self>::decode(bytes) {
            Ok(Self { refused: Some(refusal), .. }) => Err(refusal),
            Ok(Self { ok: Some(body), .. }) => Ok(body),
            Ok(_) => Err(failed("the answer is empty".into())),
            Err(error) if error.code == RefusalCode::UnknownVersion => Err(error),
            Err(error) => Err(failed(error.message)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_survives_the_wire() {
        let answer = Reply::encode(Ok(ClientIce { ice_servers: Vec::new() }));
        assert_eq!(answer, br#"{"v":1,"ok":{"ice_servers":[]}}"#);
        assert!(Reply::<ClientIce>::decode(&answer).is_ok());

        let refusal = Refusal::new(RefusalCode::Draining, "this unit is draining");
        let answer = Reply::<ClientIce>::encode(Err(refusal.clone()));
        assert_eq!(Reply::<ClientIce>::decode(&answer).unwrap_err(), refusal);
        assert_eq!(Reply::<ClientIce>::decode(b"{}").unwrap_err().code, RefusalCode::Failed);
    }
}
