//! [Instances]: their records, and which status follows which.
//!
//! [Instances]: stream_protocol::manual::wire#instances

mod request;
mod template;

use std::fmt;

use serde::ser::{Serialize, SerializeStruct, Serializer};
use serde_json::{Value, json};
use stream_protocol::{MAX_USERDATA_BYTES, SessionId};

pub(crate) use self::request::{Filter, NewInstance, Resources};
use self::template::Template;
use super::applications::Application;
use super::error::ApiError;
use super::events::Event;
use super::images::Images;

/// The node every instance is scheduled on.
pub(crate) const NODE: &str = "lxd0";

/// How many instances are remembered, whatever their status.
const MAX_INSTANCES: usize = 10_000;

/// The longest name of an instance, in bytes.
const MAX_NAME_BYTES: usize = 255;

/// An instance as AMS shows it.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Instance {
    pub id: String,
    pub name: String,
    base: bool,
    #[serde(rename = "type")]
    kind: String,
    #[serde(flatten)]
    pub status: Status,
    status_message: String,
    /// Why the status is [`Status::Error`].
    pub error_message: String,
    pub node: String,
    pub app_id: String,
    pub app_name: String,
    pub app_version: u64,
    image_id: String,
    pub(super) image_name: String,
    image_variant: &'static str,
    image_version: i64,
    /// Unix seconds.
    created_at: i64,
    address: String,
    public_address: String,
    services: Vec<Value>,
    stored_logs: Vec<String>,
    pub config: Value,
    resources: Resources,
    architecture: String,
    pub tags: Vec<String>,
}

/// What an instance finds when it boots. It holds tokens and is never printed.
#[derive(Clone, Default)]
pub(crate) struct UserData {
    /// What the launch handed over.
    pub(crate) from_launch: String,
    /// What the agent answered, if the instance streams.
    pub(crate) session: Option<String>,
}

/// Where an instance is in its life; the manual lists the [codes].
///
/// [codes]: stream_protocol::manual::wire#instances
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Status {
    Error = -1,
    Created = 1,
    Prepared = 2,
    Started = 3,
    Running = 4,
    Stopped = 5,
    Deleted = 6,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Created => "created",
            Self::Prepared => "prepared",
            Self::Started => "started",
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Deleted => "deleted",
        })
    }
}

impl Serialize for Status {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut members = serializer.serialize_struct("Status", 2)?;
        members.serialize_field("status", &self.to_string())?;
        members.serialize_field("status_code", &(*self as i32))?;
        members.end()
    }
}

impl Instance {
    /// Whether AMS asks the agent for a session of it.
    pub(crate) fn streams(&self) -> bool {
        self.config["enable_streaming"] == json!(true)
    }

    pub(crate) fn url(&self) -> String {
        url(&self.id)
    }

    /// The URLs of the logs that were collected of it.
    pub(crate) fn log_urls(&self) -> Vec<String> {
        self.stored_logs.iter().map(|name| format!("{}/logs/{name}", self.url())).collect()
    }
}

/// Returns the URL of the instance with this id.
pub(crate) fn url(id: &str) -> String {
    format!("/1.0/instances/{id}")
}

/// All instances in the order of their creation.
#[derive(Default)]
pub(crate) struct Instances {
    entries: Vec<Entry>,
    /// What is not told yet.
    untold: Vec<Event>,
}

struct Entry {
    instance: Instance,
    // Beside the instance, because it is never shown.
    user_data: UserData,
    delete_protected: bool,
    /// What was collected when it failed.
    log: Option<String>,
}

/// The one log that is collected of an instance.
const LOG: &str = "container.log";

impl Instances {
    /// Stores a new instance and returns it. `now` is in Unix seconds.
    pub(crate) fn create(
        &mut self,
        request: NewInstance,
        apps: &[Application],
        images: &Images,
        now: i64,
    ) -> Result<Instance, ApiError> {
        if request.user_data.len() > MAX_USERDATA_BYTES {
            return Err(ApiError::Invalid("user_data"));
        }
        if request.name.len() > MAX_NAME_BYTES || request.name.contains('/') {
            return Err(ApiError::Invalid("name"));
        }
        if !matches!(request.node.as_str(), "" | NODE) {
            return Err(ApiError::NotFound("node"));
        }
        let original = self.source(&request)?;
        let (template, user_data) = match original {
            Some(original) if request.user_data.is_empty() => {
                (Template::of(original)?, self.user_data(&original.id).from_launch)
            }
            Some(original) => (Template::of(original)?, request.user_data),
            None => (Template::requested(&request, apps, images)?, request.user_data),
        };
        if self.entries.len() >= MAX_INSTANCES {
            return Err(ApiError::Full);
        }
        // The ids of AMS have the form of session ids.
        let id = SessionId::random().to_string();
        let name = if request.name.is_empty() { format!("ams-{id}") } else { request.name };
        if self.find(&name).is_ok() {
            return Err(ApiError::Exists("instance"));
        }

        let delete_protected = request.config["security"]["delete_protected"] == json!(true);
        let instance = Instance {
            id,
            name,
            base: false,
            kind: template.kind,
            status: Status::Created,
            status_message: String::new(),
            error_message: String::new(),
            node: String::new(),
            app_id: template.app_id,
            app_name: template.app_name,
            app_version: template.app_version,
            image_id: template.image_id,
            image_name: template.image_name,
            image_variant: template.image_variant,
            image_version: template.image_version,
            created_at: now,
            address: String::new(),
            public_address: String::new(),
            services: template.services,
            stored_logs: Vec::new(),
            config: template.config,
            resources: template.resources,
            architecture: "x86_64".to_owned(),
            tags: request.tags,
        };
        self.tell("created", &instance.id);
        self.entries.push(Entry {
            instance: instance.clone(),
            user_data: UserData { from_launch: user_data, session: None },
            delete_protected,
            log: None,
        });
        Ok(instance)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Instance> {
        self.entries.iter().map(|entry| &entry.instance)
    }

    /// Finds an instance by its id or its name.
    pub(crate) fn find(&self, key: &str) -> Result<&Instance, ApiError> {
        let found = self.all().find(|instance| instance.id == key || instance.name == key);
        found.ok_or(ApiError::NotFound("instance"))
    }

    /// Returns the instance that `request` wants a copy of, if it wants one.
    fn source(&self, request: &NewInstance) -> Result<Option<&Instance>, ApiError> {
        let Some(source) = request.source.as_ref().filter(|source| !source.id.is_empty()) else {
            return Ok(None);
        };
        let names_another = !(request.app_id.is_empty() && request.image_id.is_empty());
        if names_another || !matches!(source.kind.as_str(), "" | "instance") {
            return Err(ApiError::Invalid("source"));
        }
        self.find(&source.id).map(Some)
    }

    /// Returns the log `name` of an instance.
    pub(crate) fn log(&self, key: &str, name: &str) -> Result<String, ApiError> {
        let id = &self.find(key)?.id;
        let entry = self.entries.iter().find(|entry| entry.instance.id == *id);
        let log = entry.filter(|_| name == LOG).and_then(|entry| entry.log.clone());
        log.ok_or(ApiError::NotFound("log"))
    }

    /// Returns what the instance finds when it boots.
    pub(crate) fn user_data(&self, id: &str) -> UserData {
        let entry = self.entries.iter().find(|entry| entry.instance.id == id);
        entry.map(|entry| entry.user_data.clone()).unwrap_or_default()
    }

    /// Returns an instance that is to stream and has no session yet.
    pub(crate) fn without_session(&self, id: &str) -> Option<Instance> {
        let entry = self.entries.iter().find(|entry| entry.instance.id == id)?;
        let waits = entry.instance.streams() && entry.user_data.session.is_none();
        waits.then(|| entry.instance.clone())
    }

    /// Gives an instance its session: the tag by which all tools find it, and its user data.
    pub(crate) fn give_session(&mut self, id: &str, session: &SessionId, userdata: String) {
        if let Some(entry) = self.entry(id) {
            entry.instance.tags.push(format!("session={session}"));
            entry.user_data.session = Some(userdata);
        }
    }

    /// How many instances take room on the node.
    pub(crate) fn placed(&self) -> usize {
        let takes_room = |status| (Status::Prepared..=Status::Running).contains(&status);
        self.all().filter(|instance| takes_room(instance.status)).count()
    }

    pub(crate) fn protect(&mut self, id: &str, protected: bool) {
        if let Some(entry) = self.entry(id) {
            entry.delete_protected = protected;
        }
    }

    /// Takes an instance through its next step of booting. Statuses only grow, so
    /// that a late step does not undo a deletion.
    pub(crate) fn advance(&mut self, id: &str, status: Status) {
        let Some(entry) = self.entry(id).filter(|entry| entry.instance.status < status) else {
            return;
        };
        entry.instance.status = status;
        if status == Status::Prepared {
            entry.instance.node = NODE.to_owned();
            entry.instance.address = "127.0.0.1".to_owned();
        }
        match status {
            Status::Prepared => self.tell("scheduled", id),
            Status::Started => self.tell("started", id),
            Status::Running => self.tell("running", id),
            _ => {}
        }
    }

    /// Makes a stopped or failed instance ready for another boot. Refuses any other.
    pub(crate) fn restart(&mut self, id: &str) -> Result<(), ApiError> {
        let entry = self.entry(id).ok_or(ApiError::NotFound("instance"))?;
        match entry.instance.status {
            Status::Created | Status::Error | Status::Stopped => {
                entry.instance.status = Status::Created;
                entry.instance.error_message.clear();
                Ok(())
            }
            _ => Err(ApiError::NotAllowed("starting an instance that is not stopped")),
        }
    }

    /// Notes that the program of an instance ended, and how. A deletion goes on regardless.
    pub(crate) fn ended(&mut self, id: &str, result: &Result<(), String>) {
        let Some(entry) = self.entry(id).filter(|e| e.instance.status != Status::Deleted) else {
            return;
        };
        match result {
            Ok(()) => {
                entry.instance.status = Status::Stopped;
                self.tell("stopped", id);
            }
            Err(message) => {
                entry.instance.status = Status::Error;
                entry.instance.error_message.clone_from(message);
                entry.instance.stored_logs = vec![LOG.to_owned()];
                entry.log = Some(format!("{message}\n"));
                self.tell("failed", id);
            }
        }
    }

    /// Returns the id of an instance that may be deleted. Refuses a protected one.
    pub(crate) fn deletable(&self, key: &str) -> Result<String, ApiError> {
        let id = self.find(key)?.id.clone();
        match self.entries.iter().any(|entry| entry.instance.id == id && entry.delete_protected) {
            true => Err(ApiError::NotAllowed("deleting a protected instance")),
            false => Ok(id),
        }
    }

    pub(crate) fn remove(&mut self, id: &str) {
        self.entries.retain(|entry| entry.instance.id != id);
        self.tell("removed", id);
    }

    /// Takes what is to be told.
    pub(crate) fn events(&mut self) -> impl Iterator<Item = Event> {
        self.untold.drain(..)
    }

    fn tell(&mut self, what: &str, id: &str) {
        self.untold.push(Event::lifecycle(&format!("instance-{what}"), url(id)));
    }

    fn entry(&mut self, id: &str) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.instance.id == id)
    }
}

#[cfg(test)]
mod tests;
