//! What a line says.

use serde::Serialize;
use serde_json::{Map, Value};
use stream_supervisor::RequestId;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::chain::{Head, Mac, Torn};

/// The most characters of a text that others say.
const MAX_TEXT_CHARS: usize = 400;

/// Who did it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Who {
    /// A client with the token of an account.
    Account { name: String, token: String },
    /// An operator at the UNIX socket, by the id of the user.
    Operator { uid: u32 },
    /// A client with the link of a share.
    Share { id: String, token: String },
    /// A unit, by itself.
    Unit(String),
}

/// Something that is done on somebody's order.
#[derive(Clone, Debug, PartialEq)]
pub struct Act {
    pub who: Who,
    /// The operation, such as `share.create`.
    pub what: String,
    /// The session that it is about.
    pub session: Option<String>,
    /// What else says which act it is; never a secret.
    pub details: Map<String, Value>,
}

/// A line, but for its code. Members that are `None` are left out.
#[derive(Default, Serialize)]
pub(crate) struct Entry {
    seq: u64,
    /// RFC 3339, by the clock of this system.
    at: String,
    pub(crate) what: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) who: Option<Who>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) session: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) why: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) details: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) request: Option<String>,
    /// The number of the line that says what was to be done, in the one that says what came of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) of: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) done: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) unit: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) prev: Option<Mac>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) torn: Option<Torn>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) head: Option<Head>,
    /// How many lines could not be written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) lost: Option<u64>,
}

impl Entry {
    /// The first line of a file, behind what is `torn` there. The line before it has the code
    /// `prev`, in another file.
    pub(crate) fn begin(unit: &str, prev: Mac, torn: Option<Torn>) -> Self {
        let (unit, prev) = (Some(unit.to_owned()), Some(prev));
        Self { what: BEGIN.to_owned(), unit, prev, torn, ..Self::default() }
    }

    pub(crate) fn torn(torn: Torn) -> Self {
        Self { what: TORN.to_owned(), torn: Some(torn), ..Self::default() }
    }

    pub(crate) fn lost(lost: u64) -> Self {
        Self { what: "audit.lost".to_owned(), lost: Some(lost), ..Self::default() }
    }

    /// NATS remembers a `head` that this log does not reach.
    pub(crate) fn gap(head: Head) -> Self {
        Self { what: GAP.to_owned(), head: Some(head), ..Self::default() }
    }

    pub(crate) fn act(act: Act) -> Self {
        let Act { who, what, session, details } = act;
        let details = Some(details).filter(|details| !details.is_empty());
        let request = RequestId::current().map(|id| id.to_string());
        Self { what, who: Some(who), session, details, request, ..Self::default() }
    }

    /// What came of the act in line `of`.
    pub(crate) fn outcome(of: u64, what: &str, outcome: Result<(), &str>) -> Self {
        let why = outcome.err().map(bounded);
        let (what, done) = (what.to_owned(), Some(outcome.is_ok()));
        Self { what, of: Some(of), done, why, ..Self::default() }
    }

    /// A step in the life of a session.
    pub(crate) fn step(unit: &str, session: &str, what: &str, why: &str, done: bool) -> Self {
        Self {
            what: what.to_owned(),
            who: Some(Who::Unit(unit.to_owned())),
            session: Some(session.to_owned()),
            why: Some(bounded(why)),
            request: RequestId::current().map(|id| id.to_string()),
            done: (!done).then_some(false),
            ..Self::default()
        }
    }

    /// Returns the line as a JSON object, as number `seq` and now.
    pub(crate) fn content(mut self, seq: u64) -> String {
        self.seq = seq;
        self.at = OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default();
        serde_json::to_string(&self).expect("it is made of texts and numbers")
    }
}

/// The line at the beginning of a file.
pub(crate) const BEGIN: &str = "audit.begin";

/// The line behind bytes that are no line.
pub(crate) const TORN: &str = "audit.torn";

/// The line that says that others are missing.
pub(crate) const GAP: &str = "audit.gap";

fn bounded(text: &str) -> String {
    text.chars().take(MAX_TEXT_CHARS).collect()
}
