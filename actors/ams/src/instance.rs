//! [Instances]: what a launch asks for, and what AMS says of one.
//!
//! [Instances]: stream_protocol::manual::wire#instances

use actix::Message;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stream_protocol::InstanceName;

use crate::error::{AmsError, says_no_room};
use crate::response::{nullable, text};

/// Asks for a new instance of an application or of an image. No `Debug`: the user data holds a
/// token.
#[derive(Clone, Message)]
#[rtype(result = "Result<String, AmsError>")]
pub struct LaunchInstance {
    /// Unique among all instances of the cluster.
    pub name: InstanceName,
    /// Id or name of an application, or of an image if there is no such application.
    pub app: String,
    /// `None` is the latest published version.
    pub app_version: Option<u64>,
    /// Passed to the instance unchanged; AMS takes 10 KiB.
    pub user_data: String,
    pub tags: Vec<String>,
}

impl LaunchInstance {
    /// The request body. Streaming is not turned on there: it would have AMS look for an agent of
    /// its own.
    pub(crate) fn body(&self) -> Value {
        let mut body = self.body_without_origin();
        (body["app_id"], body["app_version"]) = (json!(self.app), json!(self.app_version));
        body
    }

    /// Returns the request body for an instance of the image `id`.
    pub(crate) fn body_of_image(&self, id: &str) -> Value {
        let mut body = self.body_without_origin();
        body["image_id"] = json!(id);
        body
    }

    /// Whether `instance` is what this launch made, or an earlier one like it: it has all the tags.
    /// The name alone proves nothing, since anybody may have given it to an instance.
    pub(crate) fn has_made(&self, instance: &Instance) -> bool {
        self.tags.iter().all(|tag| instance.tags.contains(tag))
    }

    fn body_without_origin(&self) -> Value {
        json!({
            "name": self.name,
            "user_data": self.user_data,
            "tags": self.tags,
            "config": { "platform": "webrtc" },
        })
    }
}

/// An instance as AMS reports it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Instance {
    pub id: String,
    pub name: String,
    pub status: InstanceStatus,
    /// Why the status is what it is; mostly empty.
    pub message: String,
    pub tags: Vec<String>,
    /// Unix seconds by the clock of AMS; 0 when it does not say.
    pub created_at: u64,
}

impl Instance {
    /// Returns whether the instance failed because AMS has no room for it.
    pub fn found_no_room(&self) -> bool {
        self.status == InstanceStatus::Error && says_no_room(&self.message)
    }
}

/// Where an instance is in its life, in the order it goes through.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum InstanceStatus {
    /// It failed and is stopped.
    Error,
    Unknown,
    Created,
    Prepared,
    Started,
    Running,
    Stopped,
    /// It is being removed.
    Deleted,
}

impl InstanceStatus {
    fn of(code: i64) -> Self {
        match code {
            -1 => Self::Error,
            1 => Self::Created,
            2 => Self::Prepared,
            3 => Self::Started,
            4 => Self::Running,
            5 => Self::Stopped,
            6 => Self::Deleted,
            _ => Self::Unknown,
        }
    }
}

/// An instance as it is written on the wire; what is missing or `null` counts as empty.
#[derive(Deserialize)]
pub(crate) struct Raw {
    #[serde(deserialize_with = "text")]
    id: String,
    #[serde(default, deserialize_with = "text")]
    name: String,
    #[serde(default, deserialize_with = "nullable")]
    status_code: i64,
    #[serde(default, deserialize_with = "text")]
    status_message: String,
    #[serde(default, deserialize_with = "text")]
    error_message: String,
    #[serde(default, deserialize_with = "nullable")]
    tags: Vec<String>,
    #[serde(default, deserialize_with = "nullable")]
    created_at: i64,
}

impl From<Raw> for Instance {
    fn from(raw: Raw) -> Self {
        let Raw { id, name, status_code, status_message, error_message, tags, created_at } = raw;
        let message = if error_message.is_empty() { status_message } else { error_message };
        let created_at = u64::try_from(created_at).unwrap_or(0);
        Self { id, name, status: InstanceStatus::of(status_code), message, tags, created_at }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_launch_says_what_ams_needs_and_leaves_its_streaming_off() {
        let launch = LaunchInstance {
            name: "s-abc-1".parse().expect("a name"),
            app: "com.example.app".into(),
            app_version: None,
            user_data: "{}".into(),
            tags: vec!["session=abc".into()],
        };
        let expected = json!({
            "name": "s-abc-1", "app_id": "com.example.app", "app_version": null, "user_data": "{}",
            "tags": ["session=abc"], "config": {"platform": "webrtc"},
        });
        assert_eq!(launch.body(), expected);
        let of_image = launch.body_of_image("i1");
        assert_eq!((&of_image["image_id"], of_image.get("app_id")), (&json!("i1"), None));
        assert_eq!(of_image["tags"], expected["tags"]);
    }

    #[test]
    fn an_instance_is_read_from_what_ams_says_of_it() {
        let read = |text| serde_json::from_str::<Raw>(text).map(Instance::from);
        let full = r#"{"id":"i1","name":"s-1","status":"error","status_code":-1,"node":"lxd0",
            "status_message":"Error","error_message":"no boot","tags":["session=1"],
            "created_at":1700000000}"#;
        let instance = read(full).expect("an instance");
        assert_eq!((instance.id.as_str(), instance.name.as_str()), ("i1", "s-1"));
        assert_eq!(instance.status, InstanceStatus::Error);
        assert_eq!(instance.message, "no boot");
        assert!(!instance.found_no_room());
        let message = "no suitable node found: not enough resources".to_owned();
        assert!(Instance { message, ..instance.clone() }.found_no_room());
        assert_eq!(instance.tags, ["session=1"]);
        assert_eq!(instance.created_at, 1_700_000_000);

        let sparse = read(r#"{"id":"i2","tags":null,"error_message":null}"#).expect("an instance");
        assert_eq!((sparse.status, sparse.tags.len()), (InstanceStatus::Unknown, 0));
        assert!(read("{}").is_err(), "an instance without an id is none");
    }

    #[test]
    fn what_an_instance_says_of_itself_cannot_steer_a_terminal() {
        let text = r#"{"id":"i1","name":"s\u001b[2J\u202ex",
            "error_message":"\u001b]0;t\u0007no\nboot","tags":["session=1"]}"#;
        let instance = Instance::from(serde_json::from_str::<Raw>(text).expect("an instance"));
        assert_eq!((&*instance.name, &*instance.message), ("s[2Jx", "]0;tnoboot"));
        let long = format!(r#"{{"id":"i1","status_message":"{}"}}"#, "x".repeat(10_000));
        let instance = Instance::from(serde_json::from_str::<Raw>(&long).expect("an instance"));
        assert!(instance.message.len() <= 300, "{}", instance.message.len());
    }

    #[test]
    fn an_instance_is_known_by_all_tags_of_its_launch() {
        let launch = LaunchInstance {
            name: "s-abc-1".parse().expect("a name"),
            app: "a".into(),
            app_version: None,
            user_data: String::new(),
            tags: vec!["session=abc".into(), "store=x".into()],
        };
        let tagged = |tags: &str| {
            let text = format!(r#"{{"id":"i1","name":"s-abc-1","tags":{tags}}}"#);
            Instance::from(serde_json::from_str::<Raw>(&text).expect("an instance"))
        };
        assert!(launch.has_made(&tagged(r#"["more","store=x","session=abc"]"#)));
        assert!(!launch.has_made(&tagged(r#"["session=abc"]"#)));
        assert!(!launch.has_made(&tagged("null")));
    }

    #[test]
    fn every_status_code_of_the_contract_has_its_status() {
        use InstanceStatus::*;
        let expected = [Error, Unknown, Created, Prepared, Started, Running, Stopped, Deleted];
        assert!((-1..).map(InstanceStatus::of).take(8).eq(expected));
        assert_eq!(InstanceStatus::of(99), Unknown);
    }
}
