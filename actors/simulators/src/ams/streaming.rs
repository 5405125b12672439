//! [Instances that stream]: AMS asks the agent for a
//! session first, and the instance gets what the agent answers.
//!
//! Nothing public says how the two sides are written. This is our form of it:
//!
//! ```text
//! POST <agent.api.url>/1.0/sessions      Authorization: Macaroon root=<agent.api.token>
//!                                        Idempotency-Key: <instance id>
//! {"instance_id","app","app_version","screen":{"width","height","fps","density"}}
//! ```
//!
//! `app` is the name of the application, or of the image of an instance without one; of the screen
//! only what the launch gives is there. The answer's `metadata` is `{"id","userdata"}`, where
//! `userdata` is text or an object.
//!
//! [Instances that stream]: stream_protocol::manual::wire#sessions-that-ams-starts

use std::time::Duration;

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use stream_pki::Trust;
use stream_protocol::{SessionId, error_chain};

use super::instances::Instance;
use super::settings::Agent;
use crate::https::Https;

/// How long the agent may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// What the agent answers.
#[derive(Debug, PartialEq)]
pub(super) struct Session {
    pub(super) id: SessionId,
    pub(super) userdata: String,
}

#[derive(Deserialize)]
struct Answer {
    id: SessionId,
    userdata: Value,
}

impl From<Answer> for Session {
    fn from(Answer { id, userdata }: Answer) -> Self {
        let userdata = match userdata {
            Value::String(text) => text,
            other => other.to_string(),
        };
        Self { id, userdata }
    }
}

/// Asks `agent` for a session of `instance`. Asked again for the same one it answers the same.
pub(super) async fn session(agent: &Agent, instance: &Instance) -> Result<Session, String> {
    let asked = async {
        let https = Https::new(&agent.url, &agent.token, &Trust::Pins(vec![agent.pin]))?;
        let request = https.request(Method::POST, "/1.0/sessions");
        let request = request.header("Idempotency-Key", &instance.id).json(&body(instance));
        https.call::<Answer>(request, DEADLINE).await
    };
    asked.await.map(Session::from).map_err(|error| format!("stream agent: {}", error_chain(&error)))
}

fn body(instance: &Instance) -> Value {
    let app = if instance.app_name.is_empty() { &instance.image_name } else { &instance.app_name };
    let mut body = json!({ "instance_id": instance.id, "app": app });
    if instance.app_version > 0 {
        body["app_version"] = json!(instance.app_version);
    }
    let display = &instance.config["display"];
    let given = ["width", "height", "fps", "density"].map(|name| (name, &display[name]));
    // Go clients send 0 for what they do not give.
    let given = given.into_iter().filter(|(_, value)| value.as_u64().is_some_and(|n| n > 0));
    let screen: Map<_, _> = given.map(|(name, value)| (name.to_owned(), value.clone())).collect();
    if !screen.is_empty() {
        body["screen"] = Value::Object(screen);
    }
    body
}

#[cfg(test)]
mod tests {
    use super::super::applications::Application;
    use super::super::images::Images;
    use super::super::instances::Instances;
    use super::*;

    fn instance(config: Value) -> Instance {
        let apps = [Application::ready("phone", None, 0)];
        let request = json!({"app_id": "phone", "config": config});
        let request = serde_json::from_value(request).expect("a request");
        Instances::default().create(request, &apps, &Images::default(), 0).expect("a launch")
    }

    #[test]
    fn the_agent_learns_what_the_launch_gives_and_no_zero_values() {
        let display = json!({"width": 720, "height": 1280, "fps": 60, "density": 240});
        let full = instance(json!({"enable_streaming": true, "display": display}));
        let expected = json!({
            "instance_id": full.id, "app": "phone", "app_version": 1, "screen": display,
        });
        assert_eq!(body(&full), expected);
        let zero = json!({"width": 0, "height": 0, "fps": 30, "density": 0});
        assert_eq!(body(&instance(json!({"display": zero})))["screen"], json!({"fps": 30}));
        assert_eq!(body(&instance(json!({}))).get("screen"), None);
    }

    #[test]
    fn userdata_is_taken_as_text_and_as_an_object() {
        let read = |userdata| {
            let answer = json!({"id": "abcdefghij0123456789", "userdata": userdata});
            Session::from(serde_json::from_value::<Answer>(answer).expect("an answer")).userdata
        };
        assert_eq!(read(json!("{\"a\":1}")), "{\"a\":1}");
        assert_eq!(read(json!({"a": 1})), "{\"a\":1}");
    }
}
