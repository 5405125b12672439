//! The id of the request on whose behalf something is done. It follows the work through mailboxes
//! and into what is begun for it, so that every line that a request causes can name it.

use std::fmt;
use std::sync::Arc;

/// The longest id that is taken from a client, in bytes.
const MAX_ID_BYTES: usize = 64;

/// The length of a `traceparent` of version 00 (W3C Trace Context).
const TRACEPARENT_BYTES: usize = 55;

tokio::task_local! {
    static CURRENT: Option<RequestId>;
}

/// The id of a request, and the trace that its sender counts it to; cheap to clone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RequestId(Arc<Inner>);

#[derive(Debug, Eq, PartialEq)]
struct Inner {
    id: String,
    traceparent: Option<String>,
}

impl RequestId {
    /// The header that has the id, of requests and of answers.
    pub const HEADER: &'static str = "X-Request-Id";

    /// The header that has the trace (W3C Trace Context).
    pub const TRACEPARENT: &'static str = "traceparent";

    /// Returns the id that a sender gave its request: `id`, or that of its trace. `None` when
    /// neither is well formed: 1 to 64 letters, digits, `.`, `_` and `-`, or a `traceparent` of
    /// version 00.
    pub fn of_sender(id: Option<&str>, traceparent: Option<&str>) -> Option<Self> {
        let traceparent = traceparent.filter(|text| is_traceparent(text));
        let of_trace = traceparent.map(|text| &text[3..35]);
        let id = id.filter(|text| is_id(text)).or(of_trace)?.to_owned();
        let traceparent = traceparent.map(str::to_owned);
        Some(Self(Arc::new(Inner { id, traceparent })))
    }

    /// Returns an id that no other request has.
    pub fn random() -> Self {
        let id = format!("{:032x}", fastrand::u128(1..));
        Self(Arc::new(Inner { id, traceparent: None }))
    }

    /// Returns the id of the request that the running task works for, if any.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Clone::clone).ok().flatten()
    }

    pub fn as_str(&self) -> &str {
        &self.0.id
    }

    /// Returns the headers with which the id is handed on, each with its value.
    pub fn headers(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let traceparent = self.0.traceparent.as_deref();
        let traceparent = traceparent.map(|trace| (Self::TRACEPARENT, trace));
        [(Self::HEADER, self.as_str())].into_iter().chain(traceparent)
    }

    /// Does `work` on behalf of the request `id`, or of none.
    pub fn within<T>(id: Option<Self>, work: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(id, work)
    }

    /// Returns `work`, done on behalf of the request `id`, or of none.
    pub fn scope<F: Future>(id: Option<Self>, work: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(id, work)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn is_id(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=MAX_ID_BYTES).contains(&text.len()) && text.bytes().all(allowed)
}

fn is_traceparent(text: &str) -> bool {
    let is_hex = |part: &str, len| {
        part.len() == len && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_some = |part: &str| part.bytes().any(|byte| byte != b'0');
    // Before it is taken apart: nobody looks at a long one.
    if text.len() != TRACEPARENT_BYTES {
        return false;
    }
    match text.split('-').collect::<Vec<_>>()[..] {
        ["00", trace, parent, flags] => {
            is_hex(trace, 32)
                && is_some(trace)
                && is_hex(parent, 16)
                && is_some(parent)
                && is_hex(flags, 2)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn id(id: Option<&str>, traceparent: Option<&str>) -> Option<String> {
        RequestId::of_sender(id, traceparent).map(|id| id.to_string())
    }

    #[test]
    fn a_sender_names_its_request_or_its_trace() {
        assert_eq!(id(Some("a-1._Z"), None).as_deref(), Some("a-1._Z"));
        assert_eq!(id(None, Some(TRACE)).as_deref(), Some("4bf92f3577b34da6a3ce929d0e0e4736"));
        let both = RequestId::of_sender(Some("mine"), Some(TRACE)).expect("both are good");
        let headers: Vec<_> = both.headers().collect();
        assert_eq!(headers, [("X-Request-Id", "mine"), ("traceparent", TRACE)]);
        let one = RequestId::of_sender(Some("mine"), None).expect("it is good");
        assert_eq!(one.headers().count(), 1);
    }

    #[test]
    fn what_is_not_well_formed_or_long_is_no_id() {
        for text in ["", "a b", "a\nb", "ä", "a\"b", &"a".repeat(MAX_ID_BYTES + 1)] {
            assert_eq!(id(Some(text), None), None, "{text:?}");
        }
        let wrong = |old: &str, new: &str| TRACE.replacen(old, new, 1);
        for text in [
            String::new(),
            wrong("00-", "01-"),
            wrong("00-", "ff-"),
            wrong("4bf9", "4BF9"),
            wrong("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            wrong("00f067aa0ba902b7", &"0".repeat(16)),
            wrong("-01", "-0g"),
            wrong("-01", "-01-more"),
            wrong("-00f0", "0-0f0"),
            "ä".repeat(TRACEPARENT_BYTES / 2) + "-",
        ] {
            assert_eq!(id(None, Some(&text)), None, "{text:?}");
            assert_eq!(id(Some("good"), Some(&text)).as_deref(), Some("good"), "{text:?}");
        }
    }

    #[test]
    fn no_two_that_are_made_are_alike() {
        let made = RequestId::random();
        assert!(is_id(made.as_str()) && made != RequestId::random());
    }

    #[test]
    fn work_knows_its_request_and_nothing_else_does() {
        assert_eq!(RequestId::current(), None);
        let (one, other) = (RequestId::random(), RequestId::random());
        RequestId::within(Some(one.clone()), || {
            assert_eq!(RequestId::current(), Some(one.clone()));
            RequestId::within(Some(other.clone()), || {
                assert_eq!(RequestId::current(), Some(other));
            });
            RequestId::within(None, || assert_eq!(RequestId::current(), None));
            assert_eq!(RequestId::current(), Some(one));
        });
        assert_eq!(RequestId::current(), None);
    }
}
