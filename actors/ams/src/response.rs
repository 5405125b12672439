//! What [AMS](stream_protocol::manual::wire#ams) answers: its envelope and what can be in it. Pure.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;
use stream_protocol::{AmsInstance, Application, printable};

use crate::error::AmsError;

/// The longest text of AMS that is kept, in characters.
pub(crate) const MAX_TEXT: usize = 300;

/// The set of machines that one AMS manages.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Cluster {
    pub id: String,
    pub name: String,
}

/// An answer that is no error.
#[derive(Debug, Deserialize)]
pub(crate) struct Response<'a> {
    /// Where to ask for the outcome, when it is not known yet.
    #[serde(default)]
    operation: Option<String>,
    #[serde(borrow, default)]
    metadata: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Envelope {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default, deserialize_with = "nullable")]
    error: String,
    #[serde(default, deserialize_with = "nullable")]
    error_code: u16,
}

/// Opens the envelope of an answer that came with HTTP status `status`. An error is recognised by
/// what the body says, as AMS's own client does, and by the status when the body is none of AMS's.
pub(crate) fn open(status: u16, body: &[u8]) -> Result<Response<'_>, AmsError> {
    match serde_json::from_slice::<Envelope>(body) {
        Ok(Envelope { kind, error, error_code }) if kind == "error" => {
            Err(refused(if error_code == 0 { status } else { error_code }, &error))
        }
        Ok(_) if status < 400 => serde_json::from_slice(body).map_err(malformed),
        Ok(Envelope { error, .. }) => Err(refused(status, &error)),
        Err(error) if status < 300 => Err(malformed(error)),
        Err(_) => Err(refused(status, "the answer is none of ams's")),
    }
}

impl Response<'_> {
    /// Reads what was asked for.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, AmsError> {
        let metadata = self.metadata.map_or("null", RawValue::get);
        serde_json::from_str(metadata).map_err(malformed)
    }

    /// Returns the id of the operation that goes on, if one does.
    pub(crate) fn operation(&self) -> Option<&str> {
        self.operation.as_deref().map(base_name).filter(|id| !id.is_empty())
    }
}

fn refused(code: u16, text: &str) -> AmsError {
    let text = printable(text, MAX_TEXT);
    match code {
        401 | 403 => AmsError::Unreachable(format!(
            "it does not allow our client certificate to do this: {text}"
        )),
        404 => AmsError::NotFound,
        409 => AmsError::Conflict,
        429 | 503 => AmsError::Busy(text),
        _ => AmsError::Refused { code, text },
    }
}

fn malformed(error: serde_json::Error) -> AmsError {
    // A data error would quote the value.
    let (line, column) = (error.line(), error.column());
    AmsError::Malformed(format!("{:?} error at {line}:{column}", error.classify()))
}

/// Returns the last part of a URL or path: AMS names objects by URL, old ones without a slash.
pub(crate) fn base_name(url: &str) -> &str {
    url.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
}

/// The answer to `GET /1.0`: the server, and whether it trusts us.
#[derive(Debug, Deserialize)]
pub(crate) struct Server {
    #[serde(default, deserialize_with = "text")]
    auth: String,
    #[serde(default, deserialize_with = "text")]
    cluster_id: String,
    #[serde(default, deserialize_with = "text")]
    cluster_name: String,
}

impl Server {
    pub(crate) fn trusts_us(&self) -> bool {
        self.auth == "trusted"
    }
}

impl From<Server> for Cluster {
    fn from(server: Server) -> Self {
        Self { id: server.cluster_id, name: server.cluster_name }
    }
}

/// Something AMS does after it has answered.
#[derive(Debug, Deserialize)]
pub(crate) struct Operation {
    #[serde(default, deserialize_with = "nullable")]
    status_code: u16,
    #[serde(default, deserialize_with = "text")]
    err: String,
    #[serde(default, deserialize_with = "nullable")]
    resources: BTreeMap<String, Value>,
}

impl Operation {
    /// Returns the id of the instance the operation works on.
    pub(crate) fn instance(&self) -> Option<&str> {
        let url = self.resources.get("instances")?.get(0)?.as_str()?;
        Some(base_name(url)).filter(|id| AmsInstance::is_id(id))
    }

    /// Returns how the operation ended; [`AmsError::TimedOut`] when it has not.
    pub(crate) fn outcome(&self) -> Result<(), AmsError> {
        match self.status_code {
            0..200 => Err(AmsError::TimedOut),
            200..400 => Ok(()),
            code => Err(refused(code, &self.err)),
        }
    }
}

/// An application as far as it matters whether it can be streamed.
#[derive(Deserialize)]
pub(crate) struct ListedApplication {
    #[serde(default, deserialize_with = "text")]
    name: String,
    #[serde(default, deserialize_with = "text")]
    status: String,
    #[serde(default, deserialize_with = "nullable")]
    versions: Vec<Version>,
}

#[derive(Deserialize)]
struct Version {
    #[serde(default, deserialize_with = "nullable")]
    published: bool,
}

/// Returns the applications of a list that can be streamed, by name. AMS has no attribute that
/// says so: see [applications](stream_protocol::manual::wire#applications-and-images).
pub(crate) fn streamable(listed: Vec<ListedApplication>) -> Vec<Application> {
    let mut streamable: Vec<_> = listed
        .into_iter()
        .filter(|app| app.status == "ready" && app.versions.iter().any(|v| v.published))
        .map(|app| Application { name: app.name })
        .collect();
    streamable.sort();
    streamable
}

/// An image as far as it matters whether it can be launched.
#[derive(Deserialize)]
pub(crate) struct Image {
    #[serde(deserialize_with = "text")]
    pub(crate) id: String,
    #[serde(default, deserialize_with = "text")]
    pub(crate) name: String,
    #[serde(default, deserialize_with = "text")]
    status: String,
}

impl Image {
    /// One that is only being fetched, or failed, cannot be launched.
    pub(crate) fn is_there(&self) -> bool {
        !self.name.is_empty() && matches!(self.status.as_str(), "" | "active" | "available")
    }
}

/// Reads a text that AMS may write as `null`, as it may be logged and shown on a terminal. Names
/// and messages are in the words of whoever launched an instance, or of what runs in it.
pub(crate) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(printable(&nullable::<_, String>(deserializer)?, MAX_TEXT))
}

/// Reads a value that AMS may write as `null` when it has none.
pub(crate) fn nullable<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_recognised_by_its_body_whatever_the_status_says() {
        let body = br#"{"type":"error","error":"instance already exists","error_code":409}"#;
        assert!(matches!(open(200, body), Err(AmsError::Conflict)));
        let body = br#"{"type":"error","error":"argument name is invalid"}"#;
        let Err(AmsError::Refused { code, text }) = open(400, body) else { panic!("passed") };
        assert_eq!((code, text.as_str()), (400, "argument name is invalid"));
    }

    #[test]
    fn a_body_that_is_none_of_amss_counts_by_its_status() {
        assert!(matches!(open(502, b"<html>"), Err(AmsError::Refused { code: 502, .. })));
        assert!(matches!(open(503, b"<html>"), Err(AmsError::Busy(_))));
        assert!(matches!(open(404, b""), Err(AmsError::NotFound)));
        assert!(matches!(open(302, b""), Err(AmsError::Refused { code: 302, .. })));
        assert!(matches!(open(200, b"<html>"), Err(AmsError::Malformed(_))));
    }

    #[test]
    fn what_is_forbidden_means_that_our_certificate_is_not_trusted() {
        let body = br#"{"type":"error","error":"not authorized","error_code":403}"#;
        let Err(AmsError::Unreachable(text)) = open(403, body) else { panic!("passed") };
        assert!(text.contains("not authorized"));
    }

    #[test]
    fn a_launch_answers_with_the_instance_and_the_operation() {
        let body = br#"{"type":"async","status":"Operation created","status_code":100,
            "operation":"1.0/operations/0a-1b","metadata":{"id":"0a-1b","status_code":103,
            "metadata":null,"resources":{"instances":["/1.0/instances/bvpg7vbmend4td6moir0"]}}}"#;
        let answer = open(202, body).expect("a success");
        assert_eq!(answer.operation(), Some("0a-1b"));
        let operation: Operation = answer.read().expect("an operation");
        assert_eq!(operation.instance(), Some("bvpg7vbmend4td6moir0"));
        assert!(matches!(operation.outcome(), Err(AmsError::TimedOut)), "it has not ended");
    }

    #[test]
    fn an_operation_ends_well_or_with_its_text() {
        let read = |text| serde_json::from_str::<Operation>(text).expect("an operation");
        assert!(read(r#"{"status_code":200,"err":"","resources":null}"#).outcome().is_ok());
        let failed = read(r#"{"status_code":400,"err":"node is offline"}"#).outcome();
        assert!(matches!(failed, Err(AmsError::Refused { text, .. }) if text == "node is offline"));
    }

    #[test]
    fn an_answer_in_the_wrong_shape_is_not_echoed() {
        let body = br#"{"type":"sync","metadata":{"cluster_id":["secret"]}}"#;
        let error = open(200, body).expect("a success").read::<Server>().unwrap_err();
        assert!(matches!(error, AmsError::Malformed(_)));
        assert!(!error.to_string().contains("secret"));
    }

    #[test]
    fn only_ready_applications_with_a_published_version_can_be_streamed() {
        let listed = serde_json::from_str(
            r#"[{"name":"z","status":"ready","versions":[{"published":false},{"published":true}]},
                {"name":"unpublished","status":"ready","versions":[{"published":false}]},
                {"name":"fresh","status":"initializing","versions":[{"published":true}]},
                {"name":"bare","status":"ready","versions":null},
                {"name":"a","status":"ready","published":true,"versions":[{"published":true}]}]"#,
        );
        let names = streamable(listed.expect("a list")).into_iter().map(|app| app.name);
        assert!(names.eq(["a", "z"]));
    }

    #[test]
    fn the_server_says_whether_it_trusts_us() {
        let read = |text| serde_json::from_str::<Server>(text).expect("a server");
        assert!(read(r#"{"auth":"trusted","cluster_id":"c"}"#).trusts_us());
        assert!(!read(r#"{"auth":"untrusted"}"#).trusts_us());
        assert!(!read("{}").trusts_us());
    }
}
