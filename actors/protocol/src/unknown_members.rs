//! Members that a newer version has written into a record, and that this one hands on.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

/// The members of a JSON object, as they were written.
type Members<'a> = BTreeMap<String, &'a RawValue>;

/// Returns the JSON `after` with what `stored` has and this version does not know: the members that
/// its own rendering `before` of the same value lacks, in nested objects as well. A list is
/// replaced as a whole. Returns `None` when there is nothing to hand on.
pub(crate) fn carry_over(stored: &[u8], before: &[u8], after: &[u8]) -> Option<Vec<u8>> {
    let raw = |text| serde_json::from_slice::<&RawValue>(text).ok();
    merge(raw(stored)?, raw(before)?, raw(after)?).map(String::into_bytes)
}

/// The depth of recursion is that of `before`, which only our own types make.
fn merge(stored: &RawValue, before: &RawValue, after: &RawValue) -> Option<String> {
    // Also what others wrote, which this version knows as a text only.
    if stored.get() == before.get() {
        return None;
    }
    let (stored, before, after) = (members(stored)?, members(before)?, members(after)?);
    let mut carried = BTreeMap::new();
    for (name, kept) in stored {
        match (before.get(&name), after.get(&name)) {
            (None, None) => drop(carried.insert(name, kept.to_owned())),
            (Some(before), Some(after)) => {
                let Some(merged) = merge(kept, before, after) else { continue };
                carried.insert(name, RawValue::from_string(merged).ok()?);
            }
            _ => {}
        }
    }
    if carried.is_empty() {
        return None;
    }
    for (name, value) in after {
        carried.entry(name).or_insert_with(|| value.to_owned());
    }
    serde_json::to_string(&carried).ok()
}

fn members(raw: &RawValue) -> Option<Members<'_>> {
    serde_json::from_str(raw.get()).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn carried(stored: Value, before: Value, after: Value) -> Option<Value> {
        let text = |value: Value| value.to_string().into_bytes();
        let merged = carry_over(&text(stored), &text(before), &text(after))?;
        Some(serde_json::from_slice(&merged).expect("json"))
    }

    #[test]
    fn what_this_version_does_not_know_stays_at_every_depth() {
        let stored = json!({"a": 1, "new": {"x": [1]}, "in": {"b": 2, "newer": "y"}, "l": [{"c": 1, "d": 2}]});
        let before = json!({"a": 1, "in": {"b": 2}, "l": [{"c": 1}]});
        let after = json!({"a": 5, "in": {"b": 3}, "l": [], "fresh": true});
        let expected = json!({
            "a": 5, "new": {"x": [1]}, "in": {"b": 3, "newer": "y"}, "l": [], "fresh": true,
        });
        assert_eq!(carried(stored, before, after), Some(expected));
    }

    #[test]
    fn what_is_known_is_replaced_and_nothing_else_is_touched() {
        let (before, after) = (json!({"a": 1, "b": {"c": 1}}), json!({"a": 2, "b": null}));
        assert_eq!(carried(before.clone(), before.clone(), after.clone()), None);
        let newer = json!({"a": 1, "b": {"c": 1, "new": 1}});
        assert_eq!(carried(newer, before.clone(), after.clone()), None, "it went with its object");
        assert_eq!(carried(json!([1]), before, after), None);
        assert_eq!(carry_over(b"{", b"{}", b"{}"), None);
    }

    #[test]
    fn what_others_wrote_stays_byte_for_byte() {
        let stored = br#"{"e":{"x":1e2,"x":2},"n":117.63331139400017,"a":1}"#;
        let before = br#"{"e":{"x":1e2,"x":2},"a":1}"#;
        let after = br#"{"e":{"x":1e2,"x":2},"a":2}"#;
        let merged = carry_over(stored, before, after).expect("merged");
        let expected = r#"{"a":2,"e":{"x":1e2,"x":2},"n":117.63331139400017}"#;
        assert_eq!(String::from_utf8_lossy(&merged), expected);
    }
}
