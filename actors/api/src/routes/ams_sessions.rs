//! `POST /1.0/sessions`: AMS has launched an instance by itself and asks for its session
//! ([sessions that AMS starts](stream_protocol::manual::wire#sessions-that-ams-starts)). No public
//! document says how AMS writes to an agent; the members are named as in the APIs of AMS and of the
//! gateway.

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use stream_http::{ScreenRequest, idempotency_key, parse_json, read_body, response};
use stream_protocol::{
    AmsInstance, FromObject, JsonText, Op, Screen, SessionId, WholeNumber, printable,
};

use super::MAX_SMALL_BODY;
use crate::auth;
use crate::error::ApiError;
use crate::state::AppState;

/// The longest name of an application, in bytes.
const MAX_NAME: usize = 256;

/// An instance that AMS has launched, as AMS says it. Members that are `null`, 0 or empty count as
/// absent.
#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct LaunchedInstance {
    #[cfg_attr(test, schemars(regex(pattern = format!("^{}$", AmsInstance::ID_PATTERN))))]
    instance_id: String,
    #[serde(alias = "app_name")]
    #[cfg_attr(test, schemars(length(max = MAX_NAME)))]
    app: Option<String>,
    /// A version below 1 is the latest one.
    #[serde(default, deserialize_with = "WholeNumber::deserialize_option")]
    #[cfg_attr(test, schemars(range(min = -WholeNumber::MAX, max = WholeNumber::MAX)))]
    app_version: Option<i64>,
    /// What is 0 counts as not given.
    #[serde(alias = "display")]
    #[cfg_attr(test, schemars(with = "Option<serde_json::Map<String, serde_json::Value>>"))]
    screen: Option<FromObject<ScreenRequest>>,
    /// Any JSON, for the instance.
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "serde_json::Value"))]
    extra_data: JsonText,
}

/// The session of an instance.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct OpenedSession<'a> {
    /// AMS puts it on the instance, as the tag `session=<id>`.
    id: &'a SessionId,
    /// The userdata that AMS hands to the instance at boot: JSON, as text. Holds a token.
    userdata: &'a str,
}

/// Creates the session of an instance. A repeated request, from any unit of AMS and at any agent,
/// gets the same session: its id is derived from the instance. An idempotency key is only checked.
pub(super) async fn create(
    request: HttpRequest,
    payload: Payload,
    state: Data<AppState>,
) -> Result<HttpResponse, ApiError> {
    auth::plain(&request, &state, Op::SessionCreate).await?;
    idempotency_key(request.headers())?;
    let instance = parse(&read_body(&request, payload, MAX_SMALL_BODY).await?)?;
    let (id, userdata) = state.sessions.initiate(instance).await?;
    Ok(response::created(OpenedSession { id: &id, userdata: &userdata }))
}

pub(crate) fn parse(bytes: &[u8]) -> Result<AmsInstance, ApiError> {
    let expected = r#"{"instance_id","app","app_version","screen":{..},"extra_data"}"#;
    let LaunchedInstance { instance_id, app, app_version, screen, extra_data } =
        parse_json(bytes, expected)?;
    if !AmsInstance::is_id(&instance_id) {
        return Err(ApiError::bad_request("instance_id is the id of an instance"));
    }
    let app = app.unwrap_or_default();
    if app.len() > MAX_NAME {
        return Err(ApiError::bad_request(format!("app is a text of at most {MAX_NAME} bytes")));
    }
    let screen = screen.unwrap_or_default();
    let app_version = app_version.and_then(|version| u64::try_from(version).ok());
    Ok(AmsInstance {
        id: instance_id,
        // It may end up on a terminal.
        app: printable(&app, MAX_NAME),
        app_version: app_version.filter(|version| *version > 0),
        screen: screen.0.zero_is_absent().over(Screen::default())?,
        extra_data: extra_data
            .checked()
            .map_err(|error| ApiError::bad_request(format!("extra_data: {error}")))?,
    })
}

#[cfg(test)]
mod tests {
    use actix_web::ResponseError;
    use serde_json::{Value, json};

    use super::*;

    fn read(body: Value) -> Result<AmsInstance, u16> {
        let parsed = parse(body.to_string().as_bytes());
        parsed.map_err(|error| error.status_code().as_u16())
    }

    #[test]
    fn an_instance_is_read_with_all_that_ams_says_of_it() {
        let screen = json!({"width": 719, "height": 1280, "fps": 30, "density": 160});
        let instance = read(json!({
            "instance_id": "bvpg7vbmend4td6moir0", "app": "clock", "app_version": 2,
            "screen": screen, "extra_data": {"user": 1}, "unknown": true,
        }));
        let instance = instance.expect("an instance");
        assert_eq!(
            (instance.id.as_str(), instance.app.as_str()),
            ("bvpg7vbmend4td6moir0", "clock")
        );
        assert_eq!(
            (instance.app_version, &instance.extra_data),
            (Some(2), &json!({"user": 1}).into())
        );
        assert_eq!(instance.screen.width, 720, "encoders need even sizes");
    }

    #[test]
    fn zero_values_count_as_not_given() {
        let bare = read(json!({"instance_id": "i"})).expect("an instance");
        let zero = json!({"width": 0, "height": 0, "fps": 0, "density": null});
        let zeros = read(json!({
            "instance_id": "i", "app_name": null, "app_version": -1, "display": zero,
            "extra_data": null,
        }));
        assert_eq!(zeros, Ok(bare.clone()));
        assert_eq!((bare.screen, bare.app_version), (Screen::default(), None));
    }

    #[test]
    fn what_is_no_instance_is_refused() {
        for body in [
            json!({}),
            json!([]),
            json!({"instance_id": ""}),
            json!({"instance_id": "../1"}),
            json!({"instance_id": "a b"}),
            json!({"instance_id": 7}),
            json!({"instance_id": "i", "app": "a".repeat(257)}),
            json!({"instance_id": "i", "screen": {"width": 9999}}),
            json!({"instance_id": "i", "screen": {"width": -1}}),
        ] {
            assert_eq!(read(body.clone()), Err(400), "{body}");
        }
    }
}
