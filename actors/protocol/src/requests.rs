//! Bodies of the requests that gateway and agent exchange over NATS.

use serde::{Deserialize, Serialize};

use crate::{
    AmsInstance, IceServer, Refusal, RefusalCode, SessionId, Timestamp, Userdata, Versioned,
};

/// Asks an agent to claim a stored session and launch its instance. The agent answers with
/// [`ClientIce`] once AMS has accepted the launch, without waiting for the boot.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Launch {
    pub session: SessionId,
    /// Why the gateway chose this agent, for the document.
    #[serde(default)]
    pub placement: String,
    /// Those of the client that asks for the session.
    #[serde(default)]
    pub terms: IceTerms,
}

/// Asks any gateway for the session of an instance that AMS launched by itself; one of them answers
/// with [`AmsSessionCreated`]. One instance has one session, however often and whoever is asked.
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
    /// A [draft](Userdata::draft), to which the agent adds its address and the token.
    pub userdata: Userdata,
}

/// An empty body, for requests whose subject says everything and for answers that say no more.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Empty {}

/// On which terms a client gets ICE servers, in the request for them; what is left out, as by an
/// older gateway, is the default.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct IceTerms {
    /// Whether the client takes the fresh servers that come over its socket. Who does not may get
    /// credentials of a longer life.
    #[serde(default)]
    pub renew: bool,
    /// When that ends with which the client came: no credential is good for longer. `None` is
    /// never.
    #[serde(default)]
    pub until: Option<Timestamp>,
}

impl IceTerms {
    /// Returns the terms of who is given fresh servers in time, and came with nothing that ends.
    pub fn renewed() -> Self {
        Self { renew: true, until: None }
    }
}

/// The ICE servers for the client of a session.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ClientIce {
    pub ice_servers: Vec<IceServer>,
}

/// Asks the owner to end a session whose document already says so. The owner answers with [`Empty`]
/// once it has begun.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Terminate {
    pub cause: String,
}

/// The answer to a request: a body under `ok`, or a [`Refusal`] under `refused`.
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
    /// Reads an answer.
    ///
    /// # Errors
    ///
    /// Returns the refusal. An answer that cannot be read counts as [`RefusalCode::Failed`].
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
    fn a_request_for_ice_servers_without_terms_is_one_on_the_default_terms() {
        let older = Versioned::<IceTerms>::decode(&Versioned::encode(Empty {})).unwrap();
        assert_eq!(older, IceTerms { renew: false, until: None });
        let launch = br#"{"v":1,"session":"bvpg7vbmend4td6moir0"}"#;
        assert_eq!(Versioned::<Launch>::decode(launch).unwrap().terms, IceTerms::default());
        let terms = IceTerms { renew: true, until: Some(1_700_000_000.into()) };
        let read = Versioned::<IceTerms>::decode(&Versioned::encode(terms)).unwrap();
        assert_eq!(read, terms);
    }

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
