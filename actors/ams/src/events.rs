//! The [events] that AMS sends: lives of instances, and changes
//! of the catalogue. Events get lost, so whoever follows them polls as well.
//!
//! [events]: stream_protocol::manual::wire#operations-and-events

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use reqwest::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use reqwest::{StatusCode, Upgraded, Url};
use serde::Deserialize;
use serde_json::Value;
use stream_protocol::AmsInstance;
use stream_supervisor::Backoff;
use tokio::sync::{broadcast, watch};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use crate::client::AmsClient;
use crate::error::AmsError;
use crate::http::failed;
use crate::response::{base_name, nullable};

/// The largest event that is read, in bytes.
const MAX_EVENT_BYTES: usize = 1024 * 1024;

/// A socket that is silent for so long gets a ping, and is given up when it stays silent.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Pauses before the events are listened to again.
const RECONNECT: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(5));

/// How many events a slow listener may be behind.
const BACKLOG: usize = 1024;

/// Passes on what AMS tells by itself to whoever listens.
#[derive(Clone)]
pub(crate) struct EventChannels {
    pub(crate) instances: broadcast::Sender<InstanceEvent>,
    /// Changes when there are other applications or images.
    pub(crate) catalogue: watch::Sender<()>,
}

impl Default for EventChannels {
    fn default() -> Self {
        Self { instances: broadcast::Sender::new(BACKLOG), catalogue: watch::Sender::new(()) }
    }
}

impl EventChannels {
    /// Passes on an event as AMS has written it.
    fn pass_on(&self, text: &str) {
        match read(text) {
            // Perhaps nobody listens yet.
            Some(AmsEvent::Instance(change)) => drop(self.instances.send(change)),
            Some(AmsEvent::Catalogue) => self.catalogue.send_replace(()),
            None => {}
        }
    }
}

/// Something happened to an instance.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct InstanceEvent {
    /// Id of the instance.
    pub instance: String,
    pub action: Action,
}

/// What happened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Action {
    Created,
    Failed,
    Removed,
    Running,
    Scheduled,
    Started,
    Stopped,
}

/// What happens to instances, as far as AMS tells; made by [`Ams::changes`](crate::Ams::changes).
pub struct InstanceEvents(broadcast::Receiver<InstanceEvent>);

impl InstanceEvents {
    pub(crate) fn new(receiver: broadcast::Receiver<InstanceEvent>) -> Self {
        Self(receiver)
    }

    /// Returns the next event, or `None` when the client has stopped. A listener that is too slow
    /// misses events.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no event.
    pub async fn next(&mut self) -> Option<InstanceEvent> {
        loop {
            match self.0.recv().await {
                Ok(change) => return Some(change),
                Err(broadcast::error::RecvError::Lagged(missed)) => {
                    log::debug!(missed; "ams: events were missed");
                }
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

/// Listens to the events of AMS and passes them on to `channels`, for as long as it is polled.
pub(crate) async fn listen(client: AmsClient, channels: EventChannels) {
    let mut failures = 0u32;
    loop {
        // Connections do not outlive the certificate they were made with.
        let mut connections = client.connections().follow();
        connections.mark_unchanged();
        match open(&client).await {
            Ok(socket) => {
                log::debug!("ams: the events are heard");
                failures = 0;
                tokio::select! {
                    biased;
                    () = read_events(socket, &channels) => {
                        log::debug!("ams: the events have ended");
                    }
                    _ = connections.changed() => {}
                }
            }
            Err(error) => log::debug!(error:% = error; "ams: the events are not heard"),
        }
        failures = failures.saturating_add(1);
        tokio::time::sleep(RECONNECT.after(failures)).await;
    }
}

/// Passes on what a simulated AMS tells, for as long as it is polled.
#[cfg(feature = "simulation")]
pub(crate) async fn listen_to_simulated(
    service: std::sync::Arc<dyn crate::simulated_ams::SimulatedAms>,
    channels: EventChannels,
) {
    let mut events = service.events();
    while let Some(text) = events.recv().await {
        channels.pass_on(&text);
    }
}

async fn read_events(mut socket: WebSocketStream<Upgraded>, channels: &EventChannels) {
    let mut asked = false;
    loop {
        match tokio::time::timeout(IDLE_TIMEOUT, socket.next()).await {
            Ok(Some(Ok(Message::Text(text)))) => channels.pass_on(&text),
            Ok(Some(Ok(Message::Close(_)) | Err(_)) | None) => return,
            Ok(Some(Ok(_))) => {}
            Err(_) if asked => return,
            Err(_) => {
                let ping = socket.send(Message::Ping(Default::default()));
                if !matches!(tokio::time::timeout(IDLE_TIMEOUT, ping).await, Ok(Ok(()))) {
                    return;
                }
                asked = true;
                continue;
            }
        }
        asked = false;
    }
}

async fn open(client: &AmsClient) -> Result<WebSocketStream<Upgraded>, AmsError> {
    let mut url: Url = client.url(&["events"]);
    url.query_pairs_mut().append_pair("type", "lifecycle,operation");
    let key = generate_key();
    let request = client.connections().current().client.get(url);
    let request = request
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "websocket")
        .header(SEC_WEBSOCKET_VERSION, "13")
        .header(SEC_WEBSOCKET_KEY, &key);
    let response = tokio::time::timeout(client.timeout(), request.send());
    let response = response.await.map_err(|_| AmsError::TimedOut)?.map_err(failed)?;
    let accept = response.headers().get(SEC_WEBSOCKET_ACCEPT).and_then(|v| v.to_str().ok());
    if response.status() != StatusCode::SWITCHING_PROTOCOLS
        || accept != Some(derive_accept_key(key.as_bytes()).as_str())
    {
        let code = response.status().as_u16();
        return Err(AmsError::Refused { code, text: "no websocket".to_owned() });
    }
    let upgraded = response.upgrade().await.map_err(failed)?;
    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX_EVENT_BYTES))
        .max_frame_size(Some(MAX_EVENT_BYTES));
    Ok(WebSocketStream::from_raw_socket(upgraded, Role::Client, Some(config)).await)
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    metadata: Option<Metadata>,
}

/// Of a lifecycle: what happened to what. Of an operation: how it stands and what it works on.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Metadata {
    #[serde(deserialize_with = "nullable")]
    action: String,
    /// A URL, a path or a bare id.
    #[serde(deserialize_with = "nullable")]
    source: String,
    #[serde(deserialize_with = "nullable")]
    status_code: u16,
    #[serde(deserialize_with = "nullable")]
    resources: BTreeMap<String, Value>,
}

#[derive(Debug, Eq, PartialEq)]
pub(crate) enum AmsEvent {
    /// Applications or images may be others than before.
    Catalogue,
    Instance(InstanceEvent),
}

/// Reads what concerns us; anything else is none of our business.
pub(crate) fn read(text: &str) -> Option<AmsEvent> {
    let event: Event = serde_json::from_str(text).ok()?;
    let metadata = event.metadata?;
    match event.kind.as_str() {
        "lifecycle" => life(&metadata.action, &metadata.source).map(AmsEvent::Instance),
        "operation" => {
            let is_over = metadata.status_code >= 200;
            let lists = ["applications", "images"];
            let concerns_a_list = lists.iter().any(|list| metadata.resources.contains_key(*list));
            (is_over && concerns_a_list).then_some(AmsEvent::Catalogue)
        }
        _ => None,
    }
}

fn life(action: &str, source: &str) -> Option<InstanceEvent> {
    let action = action.strip_prefix("instance-").or_else(|| action.strip_prefix("container-"))?;
    let action = match action {
        "created" => Action::Created,
        "failed" => Action::Failed,
        "removed" => Action::Removed,
        "running" => Action::Running,
        "scheduled" => Action::Scheduled,
        "started" => Action::Started,
        "stopped" => Action::Stopped,
        _ => return None,
    };
    let instance = base_name(source);
    AmsInstance::is_id(instance).then(|| InstanceEvent { instance: instance.to_owned(), action })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lifecycle(action: &str, source: &str) -> Option<AmsEvent> {
        read(&format!(
            r#"{{"type":"lifecycle","timestamp":"2024-01-02T03:04:05.6Z",
                "metadata":{{"action":"{action}","source":"{source}"}}}}"#
        ))
    }

    #[test]
    fn an_event_is_read_whatever_form_its_source_has() {
        let change = InstanceEvent { instance: "i1".to_owned(), action: Action::Failed };
        let expected = Some(AmsEvent::Instance(change));
        for source in ["i1", "/1.0/instances/i1", "1.0/containers/i1/", "https://ams/1.0/i1"] {
            assert_eq!(lifecycle("instance-failed", source), expected, "{source}");
        }
        assert_eq!(lifecycle("container-failed", "i1"), expected);
    }

    #[test]
    fn the_end_of_what_works_on_applications_or_images_is_news_of_the_catalogue() {
        let operation = |code: u16, on: &str| {
            let metadata = format!(r#"{{"id":"x","status_code":{code},"resources":{on}}}"#);
            read(&format!(r#"{{"type":"operation","metadata":{metadata}}}"#))
        };
        assert_eq!(
            operation(200, r#"{"applications":["/1.0/applications/a"]}"#),
            Some(AmsEvent::Catalogue)
        );
        assert_eq!(operation(400, r#"{"images":["/1.0/images/a"]}"#), Some(AmsEvent::Catalogue));
        assert_eq!(operation(103, r#"{"applications":["/1.0/applications/a"]}"#), None);
        assert_eq!(operation(200, r#"{"instances":["/1.0/instances/a"]}"#), None);
        assert_eq!(operation(200, "null"), None);
    }

    #[test]
    fn what_is_no_change_of_an_instance_is_ignored() {
        assert_eq!(lifecycle("instance-renamed", "i1"), None);
        assert_eq!(lifecycle("application-created", "a1"), None);
        for source in ["", "/", "/1.0/instances/a b", "\\u001b[2J"] {
            assert_eq!(lifecycle("instance-failed", source), None, "{source:?} is no instance");
        }
        assert_eq!(read(r#"{"type":"operation","metadata":{"id":"x"}}"#), None);
        assert_eq!(read(r#"{"metadata":null}"#), None);
        assert_eq!(read("nonsense"), None);
    }
}
