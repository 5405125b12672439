//! What our own programs exchange over NATS, and keep there: others can write it, too.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use stream_protocol::subjects::{AgentRequest, unit_timeline};
use stream_protocol::{
    AgentOverview, AmsSessionCreated, CataloguePage, ClientIce, Commands, CreateAmsSession,
    DrainAgent, Launch, Presence, RefusalCode, Reply, SessionDocument, StoredSignal, Terminate,
    TimelineEntry, VERSION, Versioned,
};

use super::edited::edited;

/// A payload of each kind.
const PAYLOADS: &[&str] = &[
    DOCUMENT,
    r#"{"v":1,"session":"abcdefghij0123456789","placement":"p","terms":{"renew":true,"until":7}}"#,
    r#"{"v":1,"cluster":"c","region":"eu","instance":{"id":"i","app":"a","app_version":2,"screen":{"width":1280,"height":720,"fps":60,"density":240},"extra_data":null}}"#,
    r#"{"v":1,"agent":"a-1","region":"eu","cluster":"c","catalogue":"x","capacity":7,"draining":false,"unavailable":null,"version":"0.2.0","stun_servers":["stun:a"]}"#,
    r#"{"v":1,"generation":3,"signal":{"type":"offer","sdp":"dj0w"},"previous":6}"#,
    r#"{"v":1,"ok":{"ice_servers":[{"urls":["turn:a"],"username":"u","password":"p"}]}}"#,
    r#"{"v":1,"refused":{"code":"draining","message":"no"}}"#,
    r#"{"v":1,"hop":"join","unit":"u","text":"t","took_ms":5,"until":7,"failed":true,"count":2}"#,
    r#"{"v":1,"version":"x","pages":1,"applications":["a"],"images":["b"]}"#,
    r#"{"v":1,"drain":true,"force":false,"until":7}"#,
];

const DOCUMENT: &str = r#"{"v":1,"id":"abcdefghij0123456789","origin":"client","generation":2,
    "owner":"a-1","placement":"p","cluster":"c","launch_region":"eu","desired":{"state":"running",
    "client":{"screen":{"width":1280,"height":720,"fps":60,"density":240},"role":"control"}},
    "status":"active","instance_name":"s-1","instance_id":"i","deadline":130,"failed":false,
    "kept_instance":null,"instance_token":"t","running_since":101,"capabilities":["adb"],
    "last_screen":null,"ice_renewal":1,"ice_renewed_at":120,
    "made_by":{"account":"demo","token_id":"t"},
    "idle":{"since":120,"generation":2,"left":true,"answered":false,"dismissed":false},
    "connected":1,"adb":{"made":1,"present":[{"share":"abcdefghij0123456789","generation":1,"until":900}]},
    "causes":[{"at":101,"text":"the instance is running"}],"request":{"app":"a","app_version":null,
    "region":"","screen":{"width":1280,"height":720,"fps":60,"density":240},"joinable":true,
    "ephemeral":true,"idle_time_min":30,"on_conflict":"replace","first_client_s":0,
    "extra_data":{"x":1.0}},"created_at":100}"#;

/// A payload: what is read is written so that it reads the same, only a newer version is called
/// one, and an edit keeps what a newer version has written.
pub(crate) fn documents(data: &[u8]) {
    payload(data);
    payload(&edited(data, PAYLOADS));
}

fn payload(bytes: &[u8]) {
    survives::<AgentOverview>(bytes);
    survives::<AmsSessionCreated>(bytes);
    survives::<CataloguePage>(bytes);
    survives::<Commands>(bytes);
    survives::<CreateAmsSession>(bytes);
    survives::<DrainAgent>(bytes);
    survives::<Launch>(bytes);
    survives::<Presence>(bytes);
    survives::<StoredSignal>(bytes);
    survives::<Terminate>(bytes);
    survives::<TimelineEntry>(bytes);
    answer(bytes);
    if let Some(document) = survives::<SessionDocument>(bytes) {
        edit(bytes, &document);
    }
}

/// What operators ask: as any other payload.
pub(crate) fn orders(bytes: &[u8]) {
    survives::<stream_gateway::admin::Request>(bytes);
    survives::<stream_tokens::Request>(bytes);
    survives::<stream_turn::Request>(bytes);
}

/// The subject of a request: one that is read is written as the same, another one is told in part
/// at most; and the name of a unit is one word of a subject.
pub(crate) fn subject(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    match text.parse::<AgentRequest>() {
        Ok(request) => assert_eq!(request.to_string(), text),
        Err(error) => assert!(error.to_string().chars().count() < 160),
    }
    let subject = unit_timeline(text);
    let word = subject.strip_prefix("stream.v1.timeline.unit-").expect("it is of a unit");
    assert!(!word.contains(['.', '*', '>', ' ', '\r', '\n']));
}

fn survives<T: DeserializeOwned + Serialize>(bytes: &[u8]) -> Option<T> {
    match Versioned::<T>::decode(bytes) {
        Ok(value) => {
            let written = Versioned::encode(&value);
            let again = Versioned::<T>::decode(&written).expect("what is written is read");
            assert_eq!(Versioned::encode(again), written);
            Some(value)
        }
        Err(refusal) => {
            let is_newer = refusal.code == RefusalCode::UnknownVersion;
            assert!(is_newer || refusal.code == RefusalCode::Malformed);
            assert_eq!(is_newer, version(bytes).is_some_and(|v| v > VERSION));
            None
        }
    }
}

/// The version that a payload names, if it names one.
fn version(bytes: &[u8]) -> Option<u32> {
    #[derive(serde::Deserialize)]
    struct Major {
        v: u32,
    }
    serde_json::from_slice::<Major>(bytes).ok().map(|major| major.v)
}

/// An answer is what was asked for or a refusal, whatever it holds.
fn answer(bytes: &[u8]) {
    let answered = Reply::<ClientIce>::decode(bytes);
    let written = Reply::encode(answered.clone());
    let again = Reply::<ClientIce>::decode(&written);
    match (answered, again) {
        (Ok(one), Ok(other)) => assert_eq!(one.ice_servers, other.ice_servers),
        (one, other) => assert_eq!(one.err(), other.err()),
    }
}

fn edit(stored: &[u8], document: &SessionDocument) {
    let mut after = document.clone();
    after.generation = after.generation.saturating_add(1);
    after.push_cause(7.into(), "noted");
    let written = Versioned::encode_over(stored, document, &after);
    assert_eq!(Versioned::decode(&written), Ok(after));
    let (Some(before), Some(written)) = (members(stored), members(&written)) else { return };
    let known = Versioned::encode(document);
    let known = members(&known).expect("a document is an object");
    for (name, value) in before.iter().filter(|(name, _)| !known.contains_key(*name)) {
        let kept = written.get(name).map(|kept| kept.get());
        assert_eq!(kept, Some(value.get()), "{name} is lost");
    }
}

fn members(json: &[u8]) -> Option<BTreeMap<String, &RawValue>> {
    serde_json::from_slice(json).ok()
}
