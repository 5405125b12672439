//! Samples of JSON in which a few members are others.

use arbitrary::{Result, Unstructured};
use serde_json::{Map, Value, json};

/// What operators ask.
pub(crate) const ORDERS: &[&str] = &[
    r#"{"v":1,"op":"drain","deadline_s":30}"#,
    r#"{"v":1,"op":"crash","actor":"turn","fault":"hang","times":1,"at_once":true}"#,
    r#"{"v":1,"op":"account.create","name":"a","expires_at":null,"operator":true,"max_sessions":3}"#,
    r#"{"v":1,"op":"share.create","session":"abcdefghij0123456789","role":"view","description":"d","expiry_at":7}"#,
    r#"{"v":1,"op":"share.update","id":"abcdefghij0123456789","description":"d","expiry_at":7}"#,
    r#"{"v":1,"op":"session.delete","id":"abcdefghij0123456789","unreadable":true}"#,
    r#"{"v":1,"op":"token.create","scope":"ams","subject":"s","expires_at":7}"#,
    r#"{"v":1,"op":"token.revoke","what":{"token":"0123456789abcdef"},"until":7}"#,
    r#"{"v":1,"op":"turn.credentials","session":"abcdefghij0123456789","region":"eu"}"#,
    r#"{"v":1,"op":"turn.drain","server":"turn:a","drained":true}"#,
];

/// What instances and AMS send to an agent.
pub(crate) const AGENT_BODIES: &[&str] = &[
    r#"{"id":"s-1","generation":3,"signal":{"type":"offer","sdp":"dj0w"}}"#,
    r#"[{"id":"a","generation":1,"signal":{"type":"candidate","candidate":"Yw=="}},{"id":"b","generation":1.0,"signal":{"type":"x"}}]"#,
    r#"{"status":"running","message":"up","capabilities":["adb","roles"]}"#,
    r#"{"client":"connected","generation":2}"#,
    r#"{"instance_id":"bvpg7vbmend4td6moir0","app":"clock","app_version":2,"screen":{"width":719,"height":1280,"fps":30,"density":160},"extra_data":{"user":1}}"#,
];

/// What AMS answers.
pub(crate) const AMS_ANSWERS: &[&str] = &[
    r#"{"type":"sync","status":"Success","status_code":200,"metadata":{"auth":"trusted","cluster_id":"c","cluster_name":"lab"}}"#,
    r#"{"type":"async","status_code":100,"operation":"/1.0/operations/0a-1b","metadata":{"id":"0a-1b","status_code":103,"err":"","resources":{"instances":["/1.0/instances/bvpg7vbmend4td6moir0"]}}}"#,
    r#"{"type":"sync","metadata":[{"id":"a","name":"clock","status":"ready","versions":[{"published":true}]}]}"#,
    r#"{"type":"sync","metadata":[{"id":"i","name":"n","status_code":-1,"status_message":"m","error_message":"no boot","tags":["t"],"created_at":1700000000}]}"#,
    r#"{"type":"error","error":"instance already exists","error_code":409}"#,
];

/// What AMS tells by itself.
pub(crate) const AMS_EVENTS: &[&str] = &[
    r#"{"type":"lifecycle","timestamp":"2024-01-02T03:04:05.6Z","metadata":{"action":"instance-failed","source":"/1.0/instances/bvpg7vbmend4td6moir0"}}"#,
    r#"{"type":"operation","metadata":{"id":"x","status_code":200,"resources":{"applications":["/1.0/applications/a"]}}}"#,
];

/// What peers send over a socket.
pub(crate) const FRAMES: &[&str] = &[
    r#"{"type":"offer","sdp":"dj0w"}"#,
    r#"{"id":"s-1","generation":3,"signal":{"type":"answer","sdp":"dj0w"}}"#,
];

/// What clients ask of sessions.
pub(crate) const SESSION_BODIES: &[&str] = &[
    r#"{"app":"com.example","app_version":"3","region":"eu","screen":{"width":1280,"height":720,"fps":60,"density":240},"joinable":true,"ephemeral":false,"idle_time_min":5,"on_conflict":"reject","extra_data":{"a":[1.0,null]}}"#,
    r#"{"screen":{"width":200,"height":100}}"#,
    r#"{"ids":["abcdefghij0123456789","b"]}"#,
];

/// What clients ask of shares, and operators of the configuration.
pub(crate) const SHARE_BODIES: &[&str] = &[
    r#"{"type":"view","description":"für Ada","expiry_at":1000060,"expiry_min":3}"#,
    r#"{"name":"share.per_session","value":"7"}"#,
];

/// Words that mean something somewhere, and texts that are handled with care.
const WORDS: [&str; 16] = [
    "",
    "s3cret",
    "\u{1b}[2J\u{202e}",
    "a\nb",
    "abcdefghij0123456789",
    "adb",
    "control",
    "view",
    "active",
    "error",
    "running",
    "terminated",
    "/1.0/instances/",
    "../..",
    "v",
    "type",
];

/// Returns one of `samples` in which `data` has changed up to four members.
pub(crate) fn edited(data: &[u8], samples: &[&str]) -> Vec<u8> {
    let u = &mut Unstructured::new(data);
    let sample = u.choose(samples).map_or(samples[0], |sample| *sample);
    let mut value: Value = serde_json::from_str(sample).expect("a sample is JSON");
    for _ in 0..4 {
        if u.is_empty() || edit(&mut value, u).is_err() {
            break;
        }
    }
    value.to_string().into_bytes()
}

/// Changes `value`, or something in it.
fn edit(value: &mut Value, u: &mut Unstructured<'_>) -> Result<()> {
    if u.ratio(2, 3)? {
        match value {
            Value::Object(members) if !members.is_empty() => return edit_member(members, u),
            Value::Array(items) if !items.is_empty() => {
                let at = u.choose_index(items.len())?;
                if u.ratio(1, 4)? {
                    let item = items[at].clone();
                    items.push(item);
                    return Ok(());
                }
                return edit(&mut items[at], u);
            }
            _ => {}
        }
    }
    *value = other(u, 3)?;
    Ok(())
}

fn edit_member(members: &mut Map<String, Value>, u: &mut Unstructured<'_>) -> Result<()> {
    let names: Vec<_> = members.keys().cloned().collect();
    let name = u.choose(&names)?;
    match u.int_in_range(0..=5)? {
        0 => drop(members.remove(name)),
        1 => drop(members.insert(text(u)?, other(u, 2)?)),
        _ => return edit(&mut members[name.as_str()], u),
    }
    Ok(())
}

/// Makes any value, nested at most `depth` times.
fn other(u: &mut Unstructured<'_>, depth: u32) -> Result<Value> {
    Ok(match u.int_in_range(0..=if depth == 0 { 5 } else { 7 })? {
        0 => Value::Null,
        1 => json!(u.arbitrary::<bool>()?),
        2 => json!(u.choose(&[0, 1, -1, 255, 1 << 16, 1 << 53, i64::MAX, i64::MIN])?),
        3 => json!(u.arbitrary::<u64>()?),
        4 => json!(u.arbitrary::<f64>()?),
        5 => json!(text(u)?),
        6 => {
            let count = u.int_in_range(0..=4)?;
            (0..count).map(|_| other(u, depth - 1)).collect::<Result<Vec<_>>>()?.into()
        }
        _ => Map::from_iter([(text(u)?, other(u, depth - 1)?)]).into(),
    })
}

fn text(u: &mut Unstructured<'_>) -> Result<String> {
    if u.ratio(1, 8)? {
        let count = u.choose(&[40, 300, 9000])?;
        return Ok("ü".repeat(*count));
    }
    if u.ratio(1, 2)? { Ok((*u.choose(&WORDS)?).to_owned()) } else { u.arbitrary() }
}
