//! [Operations]: what was asked for and how it went.
//!
//! [Operations]: stream_protocol::manual::wire#operations-and-events

use std::collections::{BTreeMap, HashMap, VecDeque};

use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use super::error::ApiError;
use super::events::Event;

/// How many finished operations stay readable; the oldest go first.
const MAX_FINISHED: usize = 1000;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Operation {
    pub(crate) id: String,
    class: &'static str,
    description: &'static str,
    created_at: String,
    updated_at: String,
    status: &'static str,
    status_code: u16,
    resources: BTreeMap<&'static str, Vec<String>>,
    metadata: Option<Value>,
    may_cancel: bool,
    err: String,
    server_address: String,
}

/// What an operation works on: a kind and the URLs of its objects.
pub(crate) type Resources = (&'static str, Vec<String>);

impl Operation {
    pub(crate) fn url(&self) -> String {
        format!("/1.0/operations/{}", self.id)
    }

    pub(crate) fn is_final(&self) -> bool {
        self.status_code >= 200
    }

    /// Returns the id of the one instance it works on.
    pub(crate) fn instance(&self) -> Option<String> {
        let url = self.resources.get("instances")?.first()?;
        Some(url.rsplit('/').next()?.to_owned())
    }

    fn end(&mut self, status: &'static str, status_code: u16, err: String, now: OffsetDateTime) {
        (self.status, self.status_code, self.err) = (status, status_code, err);
        self.may_cancel = false;
        self.updated_at = stamp(now);
    }
}

#[derive(Default)]
pub(crate) struct Operations {
    all: HashMap<String, Operation>,
    finished: VecDeque<String>,
    /// What is not told yet.
    untold: Vec<Event>,
}

impl Operations {
    /// Opens an operation; whoever opens one sees to it that it is finished.
    pub(crate) fn open(
        &mut self,
        description: &'static str,
        (kind, urls): Resources,
        may_cancel: bool,
        now: OffsetDateTime,
    ) -> Operation {
        let operation = Operation {
            id: Uuid::new_v4().to_string(),
            class: "task",
            description,
            created_at: stamp(now),
            updated_at: stamp(now),
            status: "Running",
            status_code: 103,
            resources: BTreeMap::from([(kind, urls)]),
            metadata: None,
            may_cancel,
            err: String::new(),
            server_address: String::new(),
        };
        self.all.insert(operation.id.clone(), operation.clone());
        self.untold.push(Event::operation(&operation));
        operation
    }

    /// Ends an operation, once: what is final stays as it is.
    pub(crate) fn finish(&mut self, id: &str, result: Result<(), String>, now: OffsetDateTime) {
        match result {
            Ok(()) => self.end(id, "Success", 200, String::new(), now),
            Err(err) => self.end(id, "Failure", 400, err, now),
        }
    }

    /// Ends an operation as cancelled. Refuses one that is final or cannot be cancelled.
    pub(crate) fn cancel(&mut self, id: &str, now: OffsetDateTime) -> Result<(), ApiError> {
        if !self.get(id)?.may_cancel {
            return Err(ApiError::NotAllowed("cancelling this operation"));
        }
        self.end(id, "Cancelled", 401, "cancelled".to_owned(), now);
        Ok(())
    }

    /// Takes what is to be told.
    pub(crate) fn events(&mut self) -> impl Iterator<Item = Event> {
        self.untold.drain(..)
    }

    pub(crate) fn get(&self, id: &str) -> Result<&Operation, ApiError> {
        self.all.get(id).ok_or(ApiError::NotFound("operation"))
    }

    /// Returns all operations under their status in lower case.
    pub(crate) fn by_status(&self) -> BTreeMap<String, Vec<&Operation>> {
        let mut lists: BTreeMap<String, Vec<&Operation>> = BTreeMap::new();
        for operation in self.all.values() {
            lists.entry(operation.status.to_lowercase()).or_default().push(operation);
        }
        lists
    }

    fn end(&mut self, id: &str, status: &'static str, code: u16, err: String, now: OffsetDateTime) {
        let Some(operation) = self.all.get_mut(id).filter(|operation| !operation.is_final()) else {
            return;
        };
        operation.end(status, code, err, now);
        self.untold.push(Event::operation(operation));
        self.finished.push_back(id.to_owned());
        if self.finished.len() > MAX_FINISHED
            && let Some(oldest) = self.finished.pop_front()
        {
            self.all.remove(&oldest);
        }
    }
}

fn stamp(time: OffsetDateTime) -> String {
    time.format(&Rfc3339).expect("the present year has four digits")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

    fn opened(operations: &mut Operations, may_cancel: bool) -> String {
        operations.open("Testing", ("instances", Vec::new()), may_cancel, NOW).id
    }

    #[test]
    fn an_operation_ends_once() {
        let mut operations = Operations::default();
        let id = opened(&mut operations, true);
        assert!(!operations.get(&id).expect("just opened").is_final());
        operations.finish(&id, Err("broken".to_owned()), NOW);
        operations.finish(&id, Ok(()), NOW);
        let operation = operations.get(&id).expect("still readable");
        assert_eq!((operation.status, operation.status_code), ("Failure", 400));
        assert_eq!(operation.err, "broken");
        assert!(operations.cancel(&id, NOW).is_err(), "a final one was cancelled");
    }

    #[test]
    fn only_what_may_be_cancelled_is() {
        let mut operations = Operations::default();
        let (firm, loose) = (opened(&mut operations, false), opened(&mut operations, true));
        assert!(matches!(operations.cancel(&firm, NOW), Err(ApiError::NotAllowed(_))));
        assert_eq!(operations.cancel(&loose, NOW), Ok(()));
        assert_eq!(operations.get(&loose).expect("readable").status_code, 401);
        assert_eq!(operations.cancel("none", NOW), Err(ApiError::NotFound("operation")));
    }

    #[test]
    fn the_oldest_finished_operations_go_and_running_ones_stay() {
        let mut operations = Operations::default();
        let running = opened(&mut operations, false);
        let first = opened(&mut operations, false);
        operations.finish(&first, Ok(()), NOW);
        for _ in 0..MAX_FINISHED {
            let id = opened(&mut operations, false);
            operations.finish(&id, Ok(()), NOW);
        }
        assert!(operations.get(&first).is_err());
        assert!(operations.get(&running).is_ok());
        let lists = operations.by_status();
        assert_eq!((lists["running"].len(), lists["success"].len()), (1, MAX_FINISHED));
    }
}
