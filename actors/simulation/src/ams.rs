//! What the simulated AMS keeps: instances and those who hear of them. Pure: time comes in.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;

/// The id of the one cluster.
pub(crate) const CLUSTER: &str = "c1";

/// The one application.
pub(crate) const APP: &str = "app";

/// Status codes of instances, as AMS writes them.
pub(crate) const ERROR: i64 = -1;
pub(crate) const CREATED: i64 = 1;
pub(crate) const RUNNING: i64 = 4;
pub(crate) const STOPPED: i64 = 5;

#[derive(Clone, Debug)]
pub(crate) struct Instance {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) status: i64,
    pub(crate) tags: Vec<String>,
    pub(crate) userdata: String,
    pub(crate) created_at: u64,
    /// When its status changed last.
    pub(crate) changed: Duration,
}

impl Instance {
    /// Whether it works, or will.
    pub(crate) fn is_alive(&self) -> bool {
        (CREATED..=RUNNING).contains(&self.status)
    }

    /// Returns the session that it was launched for.
    pub(crate) fn session(&self) -> Option<&str> {
        self.tags.iter().find_map(|tag| tag.strip_prefix("session="))
    }
}

#[derive(Default)]
pub(crate) struct Ams {
    pub(crate) instances: BTreeMap<String, Instance>,
    /// Those that are gone, and since when.
    pub(crate) gone: BTreeMap<String, (Instance, Duration)>,
    launched: u32,
    /// Nothing is answered before.
    pub(crate) mute_until: Duration,
    /// Who hears of events.
    pub(crate) listeners: Vec<mpsc::UnboundedSender<String>>,
    /// Who starts the programs of instances.
    pub(crate) boots: Option<mpsc::UnboundedSender<String>>,
}

impl Ams {
    pub(crate) fn find(&self, id_or_name: &str) -> Option<&Instance> {
        let named = |one: &&Instance| one.id == id_or_name || one.name == id_or_name;
        self.instances.values().find(named)
    }

    /// Launches what `body` asks for; refuses with the code of an error.
    pub(crate) fn launch(
        &mut self,
        body: &Value,
        (now, unix): (Duration, u64),
    ) -> Result<String, u16> {
        let text = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
        if text("app_id") != APP {
            return Err(404);
        }
        if self.find(&text("name")).is_some() {
            return Err(409);
        }
        self.launched += 1;
        let id = format!("i{:04}", self.launched);
        let tags = body["tags"].as_array().into_iter().flatten();
        let tags = tags.filter_map(|tag| tag.as_str().map(str::to_owned)).collect();
        let instance = Instance {
            id: id.clone(),
            name: text("name"),
            status: CREATED,
            tags,
            userdata: text("user_data"),
            created_at: unix,
            changed: now,
        };
        self.instances.insert(id.clone(), instance);
        if let Some(boots) = &self.boots {
            // The simulation may be over.
            let _ = boots.send(id.clone());
        }
        Ok(id)
    }

    /// Has an instance be in another state, and tells who listens.
    pub(crate) fn set_status(&mut self, id: &str, status: i64, now: Duration) {
        let Some(instance) = self.instances.get_mut(id) else { return };
        (instance.status, instance.changed) = (status, now);
        self.tell(
            id,
            match status {
                ERROR => "failed",
                RUNNING => "running",
                STOPPED => "stopped",
                _ => "started",
            },
        );
    }

    pub(crate) fn remove(&mut self, id: &str, now: Duration) {
        if let Some(instance) = self.instances.remove(id) {
            self.gone.insert(id.to_owned(), (instance, now));
            self.tell(id, "removed");
        }
    }

    fn tell(&mut self, id: &str, action: &str) {
        let source = format!("/1.0/instances/{id}");
        let metadata = json!({"action": format!("instance-{action}"), "source": source});
        let event = json!({"type": "lifecycle", "metadata": metadata}).to_string();
        self.listeners.retain(|listener| listener.send(event.clone()).is_ok());
    }
}
