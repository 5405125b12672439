//! The file that holds the document of an API.

use std::fs;
use std::path::Path;

use serde_json::Value;

/// With this variable in the environment a document is written, not compared.
const WRITE: &str = "STREAM_WRITE_OPENAPI";

/// Checks that the file at `path` holds `document`; `package` is the crate whose test asks. With
/// `STREAM_WRITE_OPENAPI` in the environment the file is written instead.
///
/// # Errors
///
/// A sentence that says where the two differ and how to write the file anew.
pub fn check_file(path: &Path, document: &Value, package: &str) -> Result<(), String> {
    if std::env::var_os(WRITE).is_some() {
        return fs::write(path, format!("{document:#}\n")).map_err(|error| error.to_string());
    }
    let held = fs::read(path).ok().and_then(|text| serde_json::from_slice(&text).ok());
    match difference(&held.unwrap_or_default(), document) {
        None => Ok(()),
        Some(place) => Err(format!(
            "{} and the API differ at {place}/: if the API is right, write the file anew with \
             {WRITE}=1 cargo test -p {package} openapi",
            path.display(),
        )),
    }
}

/// Returns where two values differ first, as a JSON pointer.
fn difference(held: &Value, wanted: &Value) -> Option<String> {
    if let (Value::Object(held), Value::Object(wanted)) = (held, wanted) {
        let mut names: Vec<_> = held.keys().chain(wanted.keys()).collect();
        names.sort();
        return names.into_iter().find_map(|name| {
            let below = match (held.get(name), wanted.get(name)) {
                (Some(held), Some(wanted)) => difference(held, wanted)?,
                _ => String::new(),
            };
            Some(format!("/{}{below}", name.replace('~', "~0").replace('/', "~1")))
        });
    }
    (held != wanted).then(String::new)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_difference_is_named_by_its_place() {
        let held = json!({"paths": {"/1.0": {"get": [1, 2]}}, "info": {}});
        assert_eq!(difference(&held, &held), None);
        let more = json!({"paths": {"/1.0": {"get": [1, 2], "put": 1}}, "info": {}});
        assert_eq!(difference(&held, &more).as_deref(), Some("/paths/~11.0/put"));
        let other = json!({"paths": {"/1.0": {"get": [2, 1]}}, "info": {}});
        assert_eq!(difference(&held, &other).as_deref(), Some("/paths/~11.0/get"));
        assert_eq!(difference(&Value::Null, &held).as_deref(), Some(""));
    }
}
