//! Reads the bodies of requests about sessions, as tolerantly as the known clients need. Pure.

use std::collections::BTreeMap;

use actix_web::web::Query;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use stream_http::{ScreenRequest, without_byte_order_mark};
use stream_protocol::{JsonText, OnConflict, Refusal, Request, Screen, WholeNumber};

use crate::error::bad_request;
use crate::query::flag;

/// The largest `extra_data`, in bytes of JSON text, so that the userdata of an instance fits into
/// the 10 KiB that AMS hands over.
pub(crate) const MAX_EXTRA_DATA: usize = 8 * 1024;

/// The longest name of an application or a region, in bytes.
const MAX_NAME: usize = 256;

/// The longest version of an application where it is a text.
const MAX_VERSION_DIGITS: usize = 15;

/// The session that a client asks for, as it writes it.
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct SessionPost {
    #[cfg_attr(test, schemars(required, length(min = 1, max = MAX_NAME)))]
    app: Option<String>,
    /// The last published one by default, and when negative or empty.
    #[cfg_attr(
        test,
        schemars(
            with = "Option<i64>",
            range(min = -WholeNumber::MAX, max = WholeNumber::MAX),
            extend("type" = ["integer", "string", "null"]),
            extend("pattern" = format!("^ *(-?[0-9]{{1,{MAX_VERSION_DIGITS}}})? *$"))
        )
    )]
    app_version: Option<u64>,
    #[cfg_attr(test, schemars(length(max = MAX_NAME)))]
    region: Option<String>,
    #[cfg_attr(test, schemars(with = "Option<ScreenRequest>"))]
    screen: ScreenRequest,
    /// Whether clients may join after the first one, who is the only one otherwise: the session
    /// ends when that one has left.
    #[cfg_attr(test, schemars(extend("default" = false)))]
    joinable: Option<bool>,
    #[cfg_attr(test, schemars(extend("default" = true)))]
    ephemeral: Option<bool>,
    /// Minutes without a client until the end; 0 is never.
    #[cfg_attr(test, schemars(range(max = WholeNumber::MAX)))]
    idle_time_min: Option<u64>,
    /// What becomes of the present client when another one joins.
    #[cfg_attr(test, schemars(extend("default" = OnConflict::default())))]
    on_conflict: Option<OnConflict>,
    #[cfg_attr(
        test,
        schemars(
            with = "Option<serde_json::Value>",
            description = format!("For the instance, at most {MAX_EXTRA_DATA} bytes of JSON")
        )
    )]
    extra_data: JsonText,
}

impl SessionPost {
    fn read(mut members: JsonObject) -> Result<Self, Refusal> {
        Ok(Self {
            app: members.name("app")?,
            app_version: members.version()?,
            region: members.name("region")?,
            screen: screen(&mut members)?,
            joinable: members.flag("joinable")?,
            ephemeral: members.flag("ephemeral")?,
            idle_time_min: members.number("idle_time_min")?,
            on_conflict: members.take("on_conflict", "\"replace\" or \"reject\"")?,
            extra_data: members.extra_data()?,
        })
    }
}

/// The query of whoever becomes the client of a session.
#[derive(Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct ClientQuery {
    /// Whether the client takes the fresh ICE servers that come over its socket. The credentials of
    /// one that does not may be made for a longer life.
    #[cfg_attr(test, schemars(with = "Option<bool>", extend("default" = false)))]
    renew: Option<String>,
}

impl ClientQuery {
    /// Reads the query and ignores members it does not know; returns whether the client renews.
    pub(crate) fn renew(query: &str) -> Result<bool, Refusal> {
        let query = Query::<Self>::from_query(query);
        let query = query.map_err(|_| bad_request("the query is malformed"))?;
        flag("renew", query.renew.as_deref())
    }
}

/// What is filled in where a client says nothing.
#[derive(Clone, Copy)]
pub(crate) struct Defaults {
    /// Of a session that says neither that others may join nor when it ends without a client.
    pub(crate) first_client_s: u64,
    /// Of a joinable session.
    pub(crate) idle_time_min: u32,
}

/// A session that a client asks for.
#[derive(Debug)]
pub(crate) struct NewSession {
    pub(crate) request: Request,
    /// Whether the idle time is our default, which may be another by the next time.
    pub(crate) has_default_idle: bool,
}

/// Reads the body of a creation and ignores members it does not know.
///
/// # Errors
///
/// Refuses a body without `app`, members of the wrong type, and values outside their limits.
pub(crate) fn session(body: &[u8], defaults: Defaults) -> Result<NewSession, Refusal> {
    let post = SessionPost::read(JsonObject::parse(body)?)?;
    let app = post.app.filter(|app| !app.is_empty());
    let joinable = post.joinable.unwrap_or(false);
    let has_own_end = joinable || post.idle_time_min.is_some();
    let idle_by_default = if joinable { defaults.idle_time_min.into() } else { 0 };
    let request = Request {
        app: app.ok_or_else(|| bad_request("app is missing"))?,
        app_version: post.app_version,
        region: post.region.unwrap_or_default(),
        screen: post.screen.over(Screen::default())?,
        joinable,
        ephemeral: post.ephemeral.unwrap_or(true),
        idle_time_min: post.idle_time_min.unwrap_or(idle_by_default),
        on_conflict: post.on_conflict.unwrap_or_default(),
        first_client_s: if has_own_end { 0 } else { defaults.first_client_s },
        extra_data: post.extra_data,
    };
    Ok(NewSession { request, has_default_idle: post.idle_time_min.is_none() })
}

/// What a client says that joins a session.
#[derive(Default)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct SessionJoin {
    #[cfg_attr(test, schemars(with = "Option<ScreenRequest>"))]
    screen: ScreenRequest,
}

/// Reads the body of a join, which may be missing.
pub(crate) fn join(body: &[u8]) -> Result<ScreenRequest, Refusal> {
    if without_byte_order_mark(body).trim_ascii().is_empty() {
        return Ok(SessionJoin::default().screen);
    }
    let post = SessionJoin { screen: screen(&mut JsonObject::parse(body)?)? };
    Ok(post.screen)
}

/// Reads the screen that a client asks for.
fn screen(members: &mut JsonObject) -> Result<ScreenRequest, Refusal> {
    let mut screen: JsonObject = members.take("screen", "an object")?.unwrap_or_default();
    let mut size = |name| {
        let number = screen.number(name)?.map(u32::try_from).transpose();
        number.map_err(|_| bad_request(format!("screen.{name} is too large")))
    };
    Ok(ScreenRequest {
        width: size("width")?,
        height: size("height")?,
        fps: size("fps")?,
        density: size("density")?,
    })
}

/// The members of a JSON object, as they were written; one that is null counts as absent, and of
/// several with one name the last one counts. Errors never repeat a value.
#[derive(Default, Deserialize)]
struct JsonObject(BTreeMap<String, Box<RawValue>>);

impl JsonObject {
    fn parse(body: &[u8]) -> Result<Self, Refusal> {
        serde_json::from_slice(without_byte_order_mark(body)).map_err(|error| {
            if error.is_data() {
                return bad_request("the body is not a JSON object");
            }
            let (line, column) = (error.line(), error.column());
            bad_request(format!("the body is not JSON: line {line}, column {column}"))
        })
    }

    /// Takes the member `name` out, which must be what `expected` says in words.
    fn take<T: DeserializeOwned>(
        &mut self,
        name: &str,
        expected: &str,
    ) -> Result<Option<T>, Refusal> {
        let Some(value) = self.0.remove(name) else { return Ok(None) };
        serde_json::from_str(value.get()).map_err(|_| bad_request(format!("{name} is {expected}")))
    }

    fn name(&mut self, name: &str) -> Result<Option<String>, Refusal> {
        let expected = format!("a text of at most {MAX_NAME} bytes");
        match self.take::<String>(name, &expected)? {
            Some(text) if text.len() > MAX_NAME => {
                Err(bad_request(format!("{name} is {expected}")))
            }
            text => Ok(text),
        }
    }

    fn flag(&mut self, name: &str) -> Result<Option<bool>, Refusal> {
        self.take(name, "true or false")
    }

    fn number(&mut self, name: &str) -> Result<Option<u64>, Refusal> {
        let expected = "a whole number, 0 or more";
        let number = self.take::<WholeNumber>(name, expected)?.map(WholeNumber::into).transpose();
        number.map_err(|_| bad_request(format!("{name} is {expected}")))
    }

    /// Takes `app_version`: a number or, as forms send it, a text. A negative number and an empty
    /// text mean no version.
    fn version(&mut self) -> Result<Option<u64>, Refusal> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Version {
            Number(WholeNumber),
            Text(String),
        }
        let number = match self.take("app_version", "a whole number")? {
            None => return Ok(None),
            Some(Version::Text(text)) if text.trim().is_empty() => return Ok(None),
            Some(Version::Text(text)) => version_of_text(text.trim()),
            Some(Version::Number(WholeNumber(number))) => Some(number),
        };
        let number = number.ok_or_else(|| bad_request("app_version is a whole number"))?;
        Ok(u64::try_from(number).ok())
    }

    fn extra_data(&mut self) -> Result<JsonText, Refusal> {
        let text: JsonText = self.take("extra_data", "any JSON")?.unwrap_or_default();
        if text.as_str().len() > MAX_EXTRA_DATA {
            return Err(bad_request(format!("extra_data has at most {MAX_EXTRA_DATA} bytes")));
        }
        text.checked().map_err(|error| bad_request(format!("extra_data: {error}")))
    }
}

fn version_of_text(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_number =
        digits.len() <= MAX_VERSION_DIGITS && digits.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const DEFAULTS: Defaults = Defaults { first_client_s: 300, idle_time_min: 30 };

    fn session(body: &[u8]) -> Result<Request, Refusal> {
        super::session(body, DEFAULTS).map(|new| new.request)
    }

    fn read(body: Value) -> Result<Request, Refusal> {
        session(body.to_string().as_bytes())
    }

    #[test]
    fn only_the_application_is_required() {
        let request = read(json!({"app": "com.foo.bar"})).unwrap();
        assert_eq!(request.app, "com.foo.bar");
        assert_eq!(request.screen, Screen::default());
        assert_eq!((request.region.as_str(), request.app_version), ("", None));
        assert!(request.ephemeral && !request.joinable);
        assert_eq!((request.idle_time_min, request.extra_data), (0, JsonText::null()));
        assert_eq!(read(json!({"app": ""})).unwrap_err().message, "app is missing");
        assert!(read(json!({})).is_err() && read(json!({"app": null})).is_err());
    }

    #[test]
    fn a_version_may_come_as_number_or_text_and_a_negative_one_is_none() {
        let version =
            |value| read(json!({"app": "a", "app_version": value})).map(|r| r.app_version);
        assert_eq!(version(json!(3)).unwrap(), Some(3));
        assert_eq!(version(json!("3")).unwrap(), Some(3));
        for none in [json!(null), json!(-1), json!("-1"), json!("")] {
            assert_eq!(version(none).unwrap(), None);
        }
        assert_eq!(version(json!("999999999999999")).unwrap(), Some(999_999_999_999_999));
        for wrong in ["three", "1234567890123456", "+1", "--1", "-"].map(Value::from) {
            assert!(version(wrong).is_err());
        }
        for wrong in [json!(1.5), json!(1e21), json!(true), json!([])] {
            assert!(version(wrong).is_err());
        }
    }

    #[test]
    fn extra_data_is_any_json_within_its_bound() {
        for extra in [json!("user_id=123"), json!({"a": [1, null]}), json!(7), json!(null)] {
            let request = read(json!({"app": "a", "extra_data": extra})).unwrap();
            assert_eq!(request.extra_data, extra.into());
        }
        for strange in [
            r#"{"a":1,"$serde_json::private::RawValue":"1"}"#,
            r#"{"b":117.63331139400017, "a":18446744073709551616,"b":1e2}"#,
            r#""\/\u00e4""#,
        ] {
            let body = format!(r#"{{"app":"a","extra_data":{strange}}}"#);
            let request = session(body.as_bytes()).unwrap();
            assert_eq!(request.extra_data.as_str(), strange);
        }
        let nested =
            format!(r#"{{"app":"a","extra_data":{}{}}}"#, "[".repeat(101), "]".repeat(101));
        let refused = session(nested.as_bytes()).unwrap_err();
        assert_eq!(refused.message, "extra_data: JSON is nested at most 100 levels deep");
        let text = |length: usize| json!({"app": "a", "extra_data": "x".repeat(length)});
        assert!(read(text(MAX_EXTRA_DATA - 2)).is_ok());
        assert!(read(text(MAX_EXTRA_DATA - 1)).is_err());
    }

    #[test]
    fn a_joinable_session_waits_unless_told_how_long() {
        let idle = |body| read(body).unwrap().idle_time_min;
        assert_eq!(idle(json!({"app": "a", "joinable": true})), 30);
        assert_eq!(idle(json!({"app": "a", "joinable": true, "idle_time_min": 0})), 0);
        assert_eq!(idle(json!({"app": "a", "idle_time_min": 5})), 5);
        assert!(read(json!({"app": "a", "idle_time_min": -5})).is_err());
        assert_eq!(idle(json!({"app": "a", "idle_time_min": 5.0})), 5, "as Python writes it");
        assert!(read(json!({"app": "a", "idle_time_min": 0.5})).is_err());
    }

    #[test]
    fn a_session_that_names_no_end_of_its_own_must_see_a_client() {
        let waits = |body| read(body).unwrap().first_client_s;
        assert_eq!(waits(json!({"app": "a"})), 300);
        for own in [json!({"joinable": true}), json!({"idle_time_min": 0})] {
            let mut body = own;
            body["app"] = "a".into();
            assert_eq!(waits(body), 0);
        }
    }

    #[test]
    fn a_body_may_begin_with_a_byte_order_mark_and_its_own_names_mean_nothing() {
        assert_eq!(session(b"\xef\xbb\xbf{\"app\":\"a\"}").unwrap().app, "a");
        let whole = br#"{"$serde_json::private::RawValue":"{\"app\":\"a\"}"}"#;
        assert_eq!(session(whole).unwrap_err().message, "app is missing");
    }

    #[test]
    fn a_new_client_replaces_the_present_one_unless_the_session_says_otherwise() {
        let policy = |body| read(body).map(|request| request.on_conflict);
        assert_eq!(policy(json!({"app": "a"})).unwrap(), OnConflict::Replace);
        assert_eq!(
            policy(json!({"app": "a", "on_conflict": "reject"})).unwrap(),
            OnConflict::Reject
        );
        assert!(policy(json!({"app": "a", "on_conflict": "ask"})).is_err());
    }

    #[test]
    fn screens_are_rounded_and_bounded() {
        let screen = json!({"width": 719, "height": 1279, "unknown": "x"});
        let screen = read(json!({"app": "a", "screen": screen})).unwrap().screen;
        assert_eq!((screen.width, screen.height, screen.density), (720, 1280, 240));
        for wrong in [
            json!({"density": 71}),
            json!({"width": 1e12}),
            json!({"width": "1280"}),
            json!({"width": 99_999_999_999_u64}),
            json!({"width": 0}),
            json!([1280, 720]),
        ] {
            assert!(read(json!({"app": "a", "screen": wrong})).is_err());
        }
    }

    #[test]
    fn a_join_may_say_nothing_or_a_part() {
        let asked = Screen { width: 100, height: 200, fps: 30, density: 160 };
        for body in
            ["", "  \n", "\u{feff}", "{}", r#"{"disconnect_clients":true}"#, r#"{"screen":null}"#]
        {
            assert_eq!(join(body.as_bytes()).unwrap().over(asked).unwrap(), asked, "{body}");
        }
        let turned =
            join(br#"{"screen":{"width":200,"height":100}}"#).unwrap().over(asked).unwrap();
        assert_eq!(turned, Screen { width: 200, height: 100, ..asked });
        assert!(join(b"[]").is_err() && join(b"{").is_err());
    }

    #[test]
    fn a_client_renews_that_says_so() {
        for query in ["renew=true", "renew", "x=1&renew=1"] {
            assert!(ClientQuery::renew(query).unwrap(), "{query}");
        }
        for query in ["", "renew=false", "renew=0", "api_token=t"] {
            assert!(!ClientQuery::renew(query).unwrap(), "{query}");
        }
        assert!(ClientQuery::renew("renew=s3cret").is_err_and(|no| !no.message.contains("s3c")));
        assert!(ClientQuery::renew("renew=true&renew=true").is_err());
    }

    #[test]
    fn a_refusal_does_not_repeat_the_body() {
        for body in [r#"{"app":"a","region":{"s3cret":1}}"#, r#"s3cret"#, r#"{"app":"s3cret"#] {
            assert!(!session(body.as_bytes()).unwrap_err().message.contains("s3cret"));
        }
    }

    proptest! {
        #[test]
        fn no_body_makes_the_reader_panic(body: Vec<u8>) {
            let _ = session(&body);
            let _ = join(&body);
        }
    }
}
