//! The values of a query string. Pure.

use stream_protocol::Refusal;

use crate::error::bad_request;

/// Reads a flag of a query: absent is false, without a value is true.
pub(crate) fn flag(name: &str, value: Option<&str>) -> Result<bool, Refusal> {
    match value {
        None | Some("false" | "0") => Ok(false),
        Some("" | "true" | "1") => Ok(true),
        Some(_) => Err(bad_request(format!("{name} is true or false"))),
    }
}

/// Reads a number of a query; without a value it is absent.
pub(crate) fn number(name: &str, value: Option<String>) -> Result<Option<usize>, Refusal> {
    let Some(text) = value.filter(|text| !text.is_empty()) else { return Ok(None) };
    match text.bytes().all(|byte| byte.is_ascii_digit()) {
        // What is larger than any list is as good as the largest number.
        true => Ok(Some(text.parse().unwrap_or(usize::MAX))),
        false => Err(bad_request(format!("{name} is a number"))),
    }
}
