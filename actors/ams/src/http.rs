//! One call as HTTP has it: a request under a deadline, an answer of bounded size.

use std::error::Error;
use std::time::{Duration, SystemTime};

use reqwest::header::{DATE, RETRY_AFTER};
use reqwest::{RequestBuilder, Response};
use stream_pki::TlsFailure;
use stream_protocol::error_chain;
use stream_supervisor::RequestId;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use crate::error::AmsError;
use crate::response;

/// The largest answer that is read, in bytes. Lists are read in pages of less.
const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// An answer as it came.
pub(crate) struct RawResponse {
    pub(crate) status: u16,
    /// How long AMS wants to be left alone.
    pub(crate) retry_after: Option<Duration>,
    /// When AMS answered, by its own clock.
    pub(crate) date: Option<SystemTime>,
    body: Vec<u8>,
}

impl RawResponse {
    /// Makes the answer of a simulated AMS.
    #[cfg(feature = "simulation")]
    pub(crate) fn simulated((status, body): (u16, serde_json::Value)) -> Self {
        Self { status, retry_after: None, date: None, body: body.to_string().into_bytes() }
    }

    pub(crate) fn open(&self) -> Result<response::Response<'_>, AmsError> {
        response::open(self.status, &self.body)
    }
}

/// Sends `request`, with the id of the one that it is for, and reads what comes back, all `within`
/// the given time.
pub(crate) async fn send(
    request: RequestBuilder,
    within: Duration,
) -> Result<RawResponse, AmsError> {
    let mut response = named(request).timeout(within).send().await.map_err(failed)?;
    let (status, retry_after) = (response.status().as_u16(), retry_after(&response));
    let date = date(&response);
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if body.len() + chunk.len() > MAX_ANSWER_BYTES {
            let text = format!("it is larger than {MAX_ANSWER_BYTES} bytes");
            return Err(AmsError::Malformed(text));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(RawResponse { status, retry_after, date, body })
}

/// Adds the id of the request that the running task works for.
fn named(request: RequestBuilder) -> RequestBuilder {
    let id = RequestId::current();
    let headers = id.iter().flat_map(RequestId::headers);
    headers.fold(request, |request, (name, value)| request.header(name, value))
}

/// In seconds; the form with a date is not used by AMS.
fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn date(response: &Response) -> Option<SystemTime> {
    let text = response.headers().get(DATE)?.to_str().ok()?;
    OffsetDateTime::parse(text, &Rfc2822).ok().map(SystemTime::from)
}

/// Says why there is no answer, as `what: detail`. Without the URL: the log line names AMS anyway.
pub(crate) fn failed(error: reqwest::Error) -> AmsError {
    let error = error.without_url();
    if let Some(failure) = TlsFailure::find(&error) {
        return AmsError::Unreachable(tls_sentence(&failure));
    }
    if error.is_timeout() && !error.is_connect() {
        return AmsError::TimedOut;
    }
    // The outermost error only says that sending failed.
    let cause = error.source().map_or_else(|| error_chain(&error), error_chain);
    AmsError::Unreachable(format!("it cannot be reached: {cause}"))
}

/// Says why TLS with AMS fails, and what to do about it.
fn tls_sentence(failure: &TlsFailure) -> String {
    let remedy = match failure {
        TlsFailure::NotPinned(presented) => {
            return format!(
                "its server certificate has none of the configured fingerprints, but {presented}: \
                 check that it is the right server, then correct the fingerprints"
            );
        }
        TlsFailure::UnknownAuthority => ", check ams.ca",
        TlsFailure::WrongName { .. } => ", call it so in ams.url",
        TlsFailure::PlainText => ", check the port in ams.url",
        TlsFailure::OurCertificate(_) => ", check ams.certificate",
        _ => "",
    };
    format!("it cannot be reached: {failure}{remedy}")
}

#[cfg(test)]
mod tests {
    use stream_pki::{Trust, client_config};

    use super::*;

    #[test]
    fn a_call_names_the_request_that_it_is_for() {
        let tls = client_config(&Trust::Pins(vec!["0".repeat(64).parse().expect("a pin")]), None);
        let tls = tls.expect("TLS");
        let client = reqwest::Client::builder().tls_backend_preconfigured(tls).build();
        let client = client.expect("a client");
        let names = |id: Option<RequestId>| {
            let request = client.get("https://ams.example");
            let request = RequestId::within(id, || named(request)).build().expect("a request");
            let header = |name| request.headers().get(name).and_then(|it| it.to_str().ok());
            [RequestId::HEADER, RequestId::TRACEPARENT].map(|name| header(name).map(str::to_owned))
        };
        let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let id = RequestId::of_sender(Some("r1"), Some(trace));
        assert_eq!(names(id), [Some("r1".to_owned()), Some(trace.to_owned())]);
        assert_eq!(names(None), [None, None]);
    }
}
