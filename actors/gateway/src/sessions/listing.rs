//! The query of a list of sessions. Pure.

use std::cmp::Ordering;
use std::sync::Arc;

use actix_web::web::Query;
use serde::Deserialize;
use stream_protocol::{Refusal, Status};

use crate::error::bad_request;
use crate::query::{flag, number};
use crate::session_summary::SessionSummary;
use crate::views::{ByCreation, SessionIndex};

/// Which sessions a list holds, in which order and form.
#[derive(Debug, PartialEq)]
pub(crate) struct Listing {
    /// Whole sessions rather than their ids.
    pub(crate) recursion: bool,
    status: Option<Status>,
    limit: Option<usize>,
    offset: usize,
    sort_by: SortBy,
    descending: bool,
}

/// What a list is sorted by; what is equal in it goes by creation.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
enum SortBy {
    #[default]
    CreatedAt,
    Id,
    App,
    Region,
    Status,
    StatusMessage,
    Joinable,
    ContainerId,
    ClusterId,
}

impl SortBy {
    /// Compares two sessions by what is shown of them.
    fn compare(self, a: &SessionSummary, b: &SessionSummary) -> Ordering {
        match self {
            Self::CreatedAt => Ordering::Equal,
            Self::Id => a.id.cmp(&b.id),
            Self::App => a.app.cmp(&b.app),
            Self::Region => a.region.cmp(&b.region),
            Self::Status => a.status.cmp(&b.status),
            Self::StatusMessage => a.message.cmp(&b.message),
            Self::Joinable => a.joinable.cmp(&b.joinable),
            Self::ContainerId => a.instance_id.cmp(&b.instance_id),
            Self::ClusterId => a.cluster.cmp(&b.cluster),
        }
    }
}

/// The query of a list.
#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct ListQuery {
    /// Only the sessions that have it.
    #[cfg_attr(test, schemars(with = "Option<Status>"))]
    status: Option<String>,
    /// Whole sessions rather than their ids.
    #[cfg_attr(test, schemars(with = "Option<bool>", extend("default" = false)))]
    recursion: Option<String>,
    /// The older name of `recursion`.
    #[cfg_attr(test, schemars(with = "Option<bool>", extend("default" = false)))]
    recursive: Option<String>,
    /// 0 is no limit.
    #[cfg_attr(test, schemars(with = "Option<usize>"))]
    limit: Option<String>,
    /// How many to leave out at the beginning.
    #[cfg_attr(test, schemars(with = "Option<usize>"))]
    offset: Option<String>,
    /// What to sort by.
    #[cfg_attr(test, schemars(with = "Option<SortBy>", extend("default" = "created_at")))]
    sort_by: Option<String>,
    /// Which way.
    #[cfg_attr(test, schemars(extend("enum" = [ASC, DESC], "default" = ASC)))]
    sort_order: Option<String>,
}

/// The values of `sort_order`.
const ASC: &str = "asc";
const DESC: &str = "desc";

impl Listing {
    /// Reads a query string and ignores names it does not know.
    ///
    /// # Errors
    ///
    /// Refuses values that mean nothing.
    pub(crate) fn parse(query: &str) -> Result<Self, Refusal> {
        let query = Query::<ListQuery>::from_query(query);
        let query = query.map_err(|_| bad_request("the query is malformed"))?.into_inner();
        let sort_by = query.sort_by.filter(|word| !word.is_empty()).map(sort_by).transpose()?;
        let descending = match query.sort_order.as_deref() {
            None | Some("" | ASC) => false,
            Some(DESC) => true,
            Some(_) => return Err(bad_request("sort_order is asc or desc")),
        };
        Ok(Self {
            recursion: flag("recursion", query.recursion.or(query.recursive).as_deref())?,
            status: query.status.filter(|word| !word.is_empty()).map(status).transpose()?,
            // Clients send 0 when they want no limit.
            limit: number("limit", query.limit)?.filter(|&limit| limit > 0),
            offset: number("offset", query.offset)?.unwrap_or(0),
            sort_by: sort_by.unwrap_or_default(),
            descending,
        })
    }

    /// Returns one page of the matching sessions among `own`, the oldest first, and how many match
    /// in all.
    pub(crate) fn select_among<'a>(
        &self,
        own: impl Iterator<Item = &'a Arc<SessionSummary>>,
    ) -> (Vec<Arc<SessionSummary>>, usize) {
        let matches = |session: &&Arc<SessionSummary>| match self.status {
            Some(status) => session.status == status,
            None => session.is_listed,
        };
        self.page(&own.filter(matches).cloned().collect())
    }

    /// Returns one page of the matching sessions, and how many match in all.
    pub(crate) fn select(&self, sessions: &SessionIndex) -> (Vec<Arc<SessionSummary>>, usize) {
        let chosen = match self.status {
            Some(status) => sessions.of_status(status),
            None => sessions.listed(),
        };
        self.page(chosen)
    }

    fn page(&self, chosen: &ByCreation<SessionSummary>) -> (Vec<Arc<SessionSummary>>, usize) {
        let limit = self.limit.unwrap_or(usize::MAX);
        if self.sort_by == SortBy::CreatedAt {
            return (chosen.page(self.descending, self.offset, limit), chosen.len());
        }
        // No order but that of creation is kept: a page costs as much as the list.
        let mut sorted: Vec<_> = chosen.iter().collect();
        sorted.sort_by(|a, b| {
            let order = self.sort_by.compare(a, b);
            if self.descending { order.reverse() } else { order }
        });
        let page = sorted.into_iter().skip(self.offset).take(limit).cloned();
        (page.collect(), chosen.len())
    }
}

fn sort_by(word: String) -> Result<SortBy, Refusal> {
    let sentence = "sort_by is created_at, id, app, region, status, status_message, joinable, \
                    container_id or cluster_id";
    serde_json::from_value(word.into()).map_err(|_| bad_request(sentence))
}

fn status(word: String) -> Result<Status, Refusal> {
    let sentence = "status is created, active, terminating, terminated or error";
    serde_json::from_value(word.into()).map_err(|_| bad_request(sentence))
}

#[cfg(test)]
mod tests {
    use stream_protocol::{Request, SessionDocument, SessionId};

    use super::*;

    fn documents() -> Vec<SessionDocument> {
        let request = Request::for_app("a");
        let made = |n: u8, status| {
            let id = SessionId::from_bytes([n; 13]);
            let document =
                SessionDocument::new(id, request.clone(), u64::from(n / 2).into(), 0.into());
            SessionDocument { status, instance_id: Some("i".to_owned()), ..document }
        };
        vec![
            made(4, Status::Active),
            made(1, Status::Error),
            made(3, Status::Active),
            made(2, Status::Active),
        ]
    }

    #[test]
    fn what_ended_is_in_a_list_only_when_its_status_is_asked_for() {
        let ended = SessionDocument { status: Status::Terminated, ..documents().remove(0) };
        let select = |query: &str| {
            let listing = Listing::parse(query).unwrap();
            listing.select(&[ended.clone()].into_iter().collect()).1
        };
        assert_eq!((select(""), select("status=active"), select("status=terminated")), (0, 0, 1));
    }

    fn ids(query: &str) -> (Vec<SessionId>, usize) {
        let (chosen, total) =
            Listing::parse(query).unwrap().select(&documents().into_iter().collect());
        (chosen.into_iter().map(|session| session.id.clone()).collect(), total)
    }

    fn made(numbers: &[u8]) -> Vec<SessionId> {
        numbers.iter().map(|&n| SessionId::from_bytes([n; 13])).collect()
    }

    #[test]
    fn sessions_are_filtered_sorted_and_cut_into_pages() {
        assert_eq!(ids(""), (made(&[1, 2, 3, 4]), 4));
        assert_eq!(ids("status=active"), (made(&[2, 3, 4]), 3));
        assert_eq!(ids("sort_by=created_at&sort_order=desc&limit=2"), (made(&[4, 3]), 4));
        assert_eq!(ids("offset=3&limit=0"), (made(&[4]), 4));
        assert_eq!(ids("offset=9"), (made(&[]), 4));
    }

    #[test]
    fn sessions_are_sorted_by_whatever_is_shown_of_them_and_by_creation_within() {
        assert_eq!(ids("sort_by=id&sort_order=desc"), (made(&[4, 3, 2, 1]), 4));
        // The one in error is between; those that are active stay as they were made.
        assert_eq!(ids("sort_by=status"), (made(&[2, 3, 4, 1]), 4));
        assert_eq!(ids("sort_by=status&sort_order=desc&limit=2&offset=1"), (made(&[2, 3]), 4));
        for name in ["app", "region", "status_message", "joinable", "container_id", "cluster_id"] {
            assert_eq!(ids(&format!("sort_by={name}")), (made(&[1, 2, 3, 4]), 4), "{name}");
        }
    }

    #[test]
    fn both_names_of_recursion_count() {
        assert!(Listing::parse("recursion=true").unwrap().recursion);
        assert!(Listing::parse("recursive=1").unwrap().recursion);
        assert!(!Listing::parse("unknown=1").unwrap().recursion);
    }

    #[test]
    fn values_that_mean_nothing_are_refused() {
        for query in [
            "status=dead",
            "limit=-1",
            "offset=x",
            "sort_by=colour",
            "sort_order=up",
            "recursion=maybe",
        ] {
            assert!(Listing::parse(query).is_err(), "{query} passed");
        }
    }
}
