use std::fmt;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stream_pki::{Fingerprint, Trust};
use stream_protocol::{IceServer, Screen};

use crate::https::{CallError, Https};

const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Minutes that a session waits for its next client.
const IDLE_MINUTES: u64 = 30;

/// Where the gateway is, and as whom to speak to it.
#[derive(Clone)]
pub struct ClientConfig {
    /// `https://host:port`.
    pub gateway: String,
    /// The token of a service account.
    pub token: String,
    /// The certificates that the gateway may show.
    pub pins: Vec<Fingerprint>,
    /// The screen that a join asks for.
    pub screen: Screen,
}

impl fmt::Debug for ClientConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientConfig")
            .field("gateway", &self.gateway)
            .field("token", &"[redacted]")
            .field("pins", &self.pins)
            .field("screen", &self.screen)
            .finish()
    }
}

/// The gateway's session API.
pub struct Gateway {
    https: Https,
    screen: Screen,
}

/// A session to watch: what create and join answer.
#[derive(Clone)]
pub struct JoinedSession {
    pub id: String,
    /// Address of the signaling socket. Holds a token.
    pub url: String,
    pub stun_servers: Vec<IceServer>,
    /// When the client asked for it.
    pub asked: Instant,
    /// The whole answer.
    pub metadata: Value,
}

impl fmt::Debug for JoinedSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinedSession").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A session as the gateway shows it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct Session {
    pub id: String,
    pub app: String,
    pub region: String,
    pub status: String,
    pub status_message: String,
    pub joinable: bool,
    pub container_id: String,
    pub cluster_id: String,
}

impl Gateway {
    /// Returns a client of the gateway.
    ///
    /// # Errors
    ///
    /// Refuses an address that is not https, and a token that fits into no header.
    pub fn new(config: &ClientConfig) -> Result<Self, CallError> {
        let https = Https::new(&config.gateway, &config.token, &Trust::Pins(config.pins.clone()))?;
        Ok(Self { https, screen: config.screen })
    }

    /// Creates a session that waits for further clients when the first has left.
    ///
    /// # Errors
    ///
    /// The gateway refuses, gives no answer in time or one that is not understood.
    pub async fn create(&self, app: &str, screen: Screen) -> Result<JoinedSession, CallError> {
        self.create_from(&json!({
            "app": app,
            "screen": screen,
            "joinable": true,
            "idle_time_min": IDLE_MINUTES,
        }))
        .await
    }

    /// Creates a session from a request body of the caller's own.
    ///
    /// # Errors
    ///
    /// Those of [`create`](Self::create).
    pub async fn create_from(&self, body: &Value) -> Result<JoinedSession, CallError> {
        let asked = Instant::now();
        let request = self.https.request(Method::POST, "/1.0/sessions").json(body);
        created(self.https.call(request, CALL_TIMEOUT).await?, None, asked)
    }

    /// Joins a session in place of its present client.
    ///
    /// # Errors
    ///
    /// Those of [`create`](Self::create).
    pub async fn join(&self, id: &str) -> Result<JoinedSession, CallError> {
        let asked = Instant::now();
        let request = self.https.request(Method::POST, &format!("/1.0/sessions/{id}/join"));
        let request = request.json(&json!({ "screen": self.screen }));
        created(self.https.call(request, CALL_TIMEOUT).await?, Some(id), asked)
    }

    /// Returns a session as the gateway shows it.
    ///
    /// # Errors
    ///
    /// Those of [`create`](Self::create).
    pub async fn get(&self, id: &str) -> Result<Session, CallError> {
        let request = self.https.request(Method::GET, &format!("/1.0/sessions/{id}"));
        self.https.call(request, CALL_TIMEOUT).await
    }

    /// Returns the ids of all sessions.
    ///
    /// # Errors
    ///
    /// Those of [`create`](Self::create).
    pub async fn list(&self) -> Result<Vec<String>, CallError> {
        let request = self.https.request(Method::GET, "/1.0/sessions");
        self.https.call(request, CALL_TIMEOUT).await
    }

    /// Returns the names of the applications that at least one agent has.
    ///
    /// # Errors
    ///
    /// Those of [`create`](Self::create).
    pub async fn applications(&self) -> Result<Vec<String>, CallError> {
        #[derive(Deserialize)]
        struct Named {
            name: String,
        }
        let request = self.https.request(Method::GET, "/1.0/applications");
        let applications: Vec<Named> = self.https.call(request, CALL_TIMEOUT).await?;
        Ok(applications.into_iter().map(|application| application.name).collect())
    }

    /// Returns whether the gateway can serve, in its own words.
    ///
    /// # Errors
    ///
    /// Those of [`create`](Self::create).
    pub async fn status(&self) -> Result<Value, CallError> {
        let request = self.https.request(Method::GET, "/1.0/status");
        self.https.call(request, CALL_TIMEOUT).await
    }

    /// Returns the metrics of the gateway, as Prometheus reads them.
    ///
    /// # Errors
    ///
    /// Those of [`create`](Self::create).
    pub async fn metrics(&self) -> Result<String, CallError> {
        let request = self.https.request(Method::GET, "/metrics");
        self.https.text(request, CALL_TIMEOUT).await
    }

    /// Has the session `id` end.
    ///
    /// # Errors
    ///
    /// Those of [`create`](Self::create).
    pub async fn delete(&self, id: &str) -> Result<(), CallError> {
        let request = self.https.request(Method::DELETE, &format!("/1.0/sessions/{id}"));
        self.https.send(request, CALL_TIMEOUT).await
    }
}

/// Reads the answer to a create or to a join of `joined`, which was `asked` for then.
fn created(
    metadata: Value,
    joined: Option<&str>,
    asked: Instant,
) -> Result<JoinedSession, CallError> {
    #[derive(Deserialize)]
    struct Answer {
        id: Option<String>,
        url: String,
        stun_servers: Vec<IceServer>,
    }
    let answer = Answer::deserialize(&metadata).map_err(CallError::Malformed)?;
    let id = answer.id.or_else(|| joined.map(str::to_owned));
    let id = id.ok_or_else(|| CallError::Malformed(serde::de::Error::missing_field("id")))?;
    let Answer { url, stun_servers, .. } = answer;
    Ok(JoinedSession { id, url, stun_servers, asked, metadata })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_without_an_array_of_servers_is_malformed_as_it_is_for_browsers() {
        let answer = json!({"id": "x", "url": "wss://host/", "stun_servers": null});
        let read = created(answer, None, Instant::now());
        assert!(matches!(read, Err(CallError::Malformed(_))));
    }

    #[test]
    fn the_answer_to_a_join_needs_no_id() {
        let answer = json!({"url": "wss://host/", "stun_servers": []});
        let asked = Instant::now();
        assert!(created(answer.clone(), None, asked).is_err());
        assert_eq!(created(answer, Some("x"), asked).unwrap().id, "x");
    }
}
