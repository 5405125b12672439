//! Reads what clients say of shares. Pure: time comes in.

use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use stream_http::without_byte_order_mark;
use stream_protocol::{FromObject, Refusal, Role, SessionId, Timestamp};

use crate::error::bad_request;
use crate::query::{flag, number};

/// The longest life of a share.
pub(super) const MAX_LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);

/// The longest description, in characters.
const MAX_DESCRIPTION: usize = 256;

/// What it looks like, as a regular expression: no control characters.
#[cfg(test)]
const ONE_LINE: &str = "^[^\\u0000-\\u001f\\u007f-\\u009f]*$";

/// What a link lets its holder do.
#[cfg(test)]
#[derive(schemars::JsonSchema)]
#[schemars(rename_all = "snake_case")]
#[allow(dead_code)] // Only its schema is of use: it is what `role` reads.
pub(super) enum ShareType {
    Adb,
    Control,
    View,
}

/// The share that a client asks for, as it writes it.
#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct SharePost {
    #[cfg_attr(test, schemars(with = "ShareType"))]
    r#type: Option<String>,
    #[cfg_attr(test, schemars(length(max = MAX_DESCRIPTION), regex(pattern = ONE_LINE)))]
    description: Option<String>,
    #[cfg_attr(test, schemars(description = expiry_text()))]
    expiry_at: Option<Timestamp>,
    /// Minutes from now, as older clients write it; expiry_at wins.
    expiry_min: Option<u64>,
}

#[cfg(test)]
fn expiry_text() -> String {
    let days = MAX_LIFETIME.as_secs() / (24 * 3600);
    format!("Unix seconds; {days} days after the beginning at most")
}

/// The share that a request asks for.
#[derive(Debug, PartialEq)]
pub(crate) struct NewShare {
    pub(crate) role: Role,
    pub(crate) description: String,
    pub(crate) expiry_at: Option<Timestamp>,
}

impl NewShare {
    /// Reads the body of a request.
    ///
    /// # Errors
    ///
    /// Refuses a type that is not served, and a description that is too long.
    pub(crate) fn parse(body: &[u8], now: Timestamp) -> Result<Self, Refusal> {
        let SharePost { r#type, description, expiry_at, expiry_min } = read(body)?;
        let after = |minutes: u64| now.plus_secs(minutes.saturating_mul(60));
        let (role, description) = (role(r#type.as_deref())?, description.unwrap_or_default());
        Self { role, description, expiry_at: expiry_at.or(expiry_min.map(after)) }.checked()
    }

    pub(crate) fn checked(self) -> Result<Self, Refusal> {
        Ok(Self { description: check_description(self.description)?, ..self })
    }
}

/// Reads the type of a share, which is the role in which its link joins.
pub(crate) fn role(word: Option<&str>) -> Result<Role, Refusal> {
    match word {
        Some("adb") => Ok(Role::Adb),
        Some("control") => Ok(Role::Control),
        Some("view") => Ok(Role::View),
        _ => Err(bad_request("type is adb, control or view")),
    }
}

/// The changes of a share that a request asks for.
#[derive(Debug, Default, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct SharePatch {
    #[cfg_attr(test, schemars(description = expiry_text()))]
    pub(crate) expiry_at: Option<Timestamp>,
    #[cfg_attr(test, schemars(length(max = MAX_DESCRIPTION), regex(pattern = ONE_LINE)))]
    pub(crate) description: Option<String>,
}

impl SharePatch {
    pub(crate) fn parse(body: &[u8]) -> Result<Self, Refusal> {
        read::<Self>(body)?.checked()
    }

    pub(crate) fn checked(self) -> Result<Self, Refusal> {
        let description = self.description.map(check_description).transpose()?;
        Ok(Self { description, ..self })
    }
}

/// Returns when a share of `created_at` ends that is to end at `at`, but at `end` at the latest.
///
/// # Errors
///
/// Refuses an expiry that has passed, and one more than [`MAX_LIFETIME`] after the creation.
pub(super) fn expiry(
    at: Timestamp,
    created_at: Timestamp,
    end: Option<Timestamp>,
    now: Timestamp,
) -> Result<Timestamp, Refusal> {
    if at <= now {
        return Err(bad_request("a share ends in the future"));
    }
    if at > created_at + MAX_LIFETIME {
        return Err(bad_request("a share lasts at most 30 days"));
    }
    Ok(end.map_or(at, |end| at.min(end)))
}

/// The query of a list.
#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct ListQuery {
    /// Whole shares rather than their ids.
    #[cfg_attr(test, schemars(with = "Option<bool>", extend("default" = false)))]
    recursion: Option<String>,
    /// Only the shares of this session.
    #[cfg_attr(test, schemars(regex(pattern = format!("^({})?$", SessionId::PATTERN))))]
    session_id: Option<String>,
    /// 0 is no limit.
    #[cfg_attr(test, schemars(with = "Option<usize>"))]
    limit: Option<String>,
    /// How many to leave out at the beginning.
    #[cfg_attr(test, schemars(with = "Option<usize>"))]
    offset: Option<String>,
}

/// Which shares a list holds, and in which form.
#[derive(Debug, PartialEq)]
pub(crate) struct Listing {
    /// Whole shares rather than their ids.
    pub(super) recursion: bool,
    pub(super) session: Option<SessionId>,
    limit: Option<usize>,
    offset: usize,
}

impl Listing {
    /// Reads a query string and ignores names it does not know.
    ///
    /// # Errors
    ///
    /// Refuses values that mean nothing.
    pub(crate) fn parse(query: &str) -> Result<Self, Refusal> {
        let query = actix_web::web::Query::<ListQuery>::from_query(query);
        let query = query.map_err(|_| bad_request("the query is malformed"))?.into_inner();
        let session = query.session_id.filter(|id| !id.is_empty()).map(SessionId::try_from);
        Ok(Self {
            recursion: flag("recursion", query.recursion.as_deref())?,
            session: session.transpose().map_err(|error| bad_request(error.to_string()))?,
            limit: number("limit", query.limit)?.filter(|&limit| limit > 0),
            offset: number("offset", query.offset)?.unwrap_or(0),
        })
    }

    /// Returns the page of `all` between `offset` and `limit`.
    pub(crate) fn part<T>(&self, all: Vec<T>) -> Vec<T> {
        let limit = self.limit.unwrap_or(usize::MAX);
        all.into_iter().skip(self.offset).take(limit).collect()
    }
}

fn check_description(text: String) -> Result<String, Refusal> {
    if text.chars().count() > MAX_DESCRIPTION || text.chars().any(char::is_control) {
        let sentence = format!("description is one line of at most {MAX_DESCRIPTION} characters");
        return Err(bad_request(sentence));
    }
    Ok(text)
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    // The text of the error would repeat what is in the body.
    let read = serde_json::from_slice(without_byte_order_mark(body));
    read.map(|FromObject(read)| read).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        bad_request(format!("the body is not what a share takes: line {line}, column {column}"))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_unix(1_000_000);

    fn new(body: &str) -> Result<NewShare, Refusal> {
        NewShare::parse(body.as_bytes(), NOW)
    }

    #[test]
    fn a_share_says_its_type_and_may_say_the_rest() {
        let plain = new(r#"{"type":"view","unknown":1,"description":null}"#).unwrap();
        let expected = NewShare { role: Role::View, description: String::new(), expiry_at: None };
        assert_eq!(plain, expected);
        let whole = r#"{"type":"control","description":"d","expiry_at":7,"expiry_min":3}"#;
        let whole = new(whole).unwrap();
        assert_eq!(
            (whole.role, whole.expiry_at),
            (Role::Control, Some(7.into())),
            "expiry_at wins"
        );
        let minutes = new(r#"{"type":"view","expiry_min":3}"#).unwrap();
        assert_eq!(minutes.expiry_at, Some(NOW.plus_secs(180)));
        assert_eq!(
            new("\u{feff}{\"type\":\"adb\"}").unwrap().role,
            Role::Adb,
            "as an editor has it"
        );
        for body in ["", "{}", "[]", r#"{"type":7}"#, r#"{"type":"view","expiry_at":-1}"#] {
            assert!(new(body).is_err(), "{body}");
        }
    }

    #[test]
    fn a_refusal_does_not_repeat_the_body() {
        for body in [r#"{"type":{"s3cret":1}}"#, r#"{"type":"s3cret"}"#, "s3cret"] {
            assert!(!new(body).unwrap_err().message.contains("s3cret"), "{body}");
        }
    }

    #[test]
    fn a_share_lasts_up_to_thirty_days_from_its_beginning() {
        let until = |at, now| expiry(at, NOW, None, now);
        let later = |seconds| NOW.plus_secs(seconds);
        assert_eq!(until(later(1), NOW).unwrap(), later(1));
        let (last, end) = (NOW + MAX_LIFETIME, Timestamp::from_unix(u64::MAX));
        let just_before = Timestamp::from_unix(last.as_unix() - 1);
        assert_eq!(until(last, just_before).unwrap(), last);
        for (at, now) in [(NOW, NOW), (0.into(), NOW), (last.plus_secs(1), NOW), (end, last)] {
            assert!(until(at, now).is_err(), "{at}");
        }
    }

    #[test]
    fn a_share_ends_with_the_token_of_whoever_made_it() {
        let end = Some(NOW.plus_secs(60));
        assert_eq!(expiry(NOW.plus_secs(90), NOW, end, NOW).unwrap(), NOW.plus_secs(60));
        let sooner = NOW.plus_secs(30);
        assert_eq!(expiry(sooner, NOW, end, NOW).unwrap(), sooner);
    }

    #[test]
    fn a_description_is_short_and_has_one_line() {
        let change = |text: &str| {
            SharePatch { description: Some(text.to_owned()), expiry_at: None }.checked()
        };
        assert!(change(&"d".repeat(256)).is_ok() && change("für Ada").is_ok());
        assert!(change(&"d".repeat(257)).is_err() && change("a\nb").is_err());
    }

    #[test]
    fn a_list_is_of_one_session_and_cut_into_pages() {
        let listing = Listing::parse("limit=2&offset=1&recursion=true").unwrap();
        assert_eq!(listing.part(vec![1, 2, 3, 4]), [2, 3]);
        assert!(listing.recursion && listing.session.is_none());
        let of = Listing::parse("session_id=0123456789abcdefghij").unwrap();
        assert_eq!(of.session.unwrap().as_str(), "0123456789abcdefghij");
        for query in ["session_id=x", "limit=x", "offset=-1", "recursion=maybe"] {
            assert!(Listing::parse(query).is_err(), "{query}");
        }
    }

    proptest! {
        #[test]
        fn no_body_makes_the_reader_panic(body: Vec<u8>) {
            let _ = NewShare::parse(&body, u64::MAX.into());
            let _ = SharePatch::parse(&body);
        }
    }
}
