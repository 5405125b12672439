//! Changing a record: read, edit, write if nobody was faster.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use stream_protocol::subjects::Bucket;
use stream_protocol::{SessionDocument, SessionId, TimelineEntry, Versioned};

use crate::records::{Read, Write, WriteMode};
use crate::{Bridge, BridgeError, Entry};

/// How often an edit is repeated on what somebody else wrote meanwhile.
const MAX_CAS_ATTEMPTS: usize = 16;

/// How long the document of a session that has ended stays, so that those who ask learn why.
const TOMBSTONE_TTL: Duration = Duration::from_secs(3600);

/// How long it stays when the session has failed and no client deletes it before.
const FAILED_TTL: Duration = Duration::from_secs(24 * 3600);

/// How long it stays while its instance may still be there and no agent has looked for it.
const LEFT_BEHIND_TTL: Duration = Duration::from_secs(30 * 24 * 3600);

impl Bridge {
    /// Applies `edit` to the record under `key`, stores it, checked against the revision it was
    /// read at, for the time that `ttl` says or for ever, and returns what is stored now. Repeats
    /// both when somebody else was faster, so `edit` may run several times. An edit that changes
    /// nothing is not stored. Members that a newer version has written stay as they are.
    ///
    /// # Errors
    ///
    /// What `edit` returns, with the record left as it is, or [`BridgeError::NotFound`].
    pub async fn change<T, E>(
        &self,
        bucket: Bucket,
        key: &str,
        ttl: impl Fn(&T) -> Option<Duration>,
        edit: impl Fn(&mut T) -> Result<(), E>,
    ) -> Result<Entry<T>, E>
    where
        T: Clone + DeserializeOwned + PartialEq + Serialize,
        E: From<BridgeError>,
    {
        self.change_and_tell(bucket, key, ttl, edit, |_, _| ()).await
    }

    /// Changes a record as [`Bridge::change`] does, and hands to `tell` how it was before and how
    /// it is now, if that was stored.
    async fn change_and_tell<T, E>(
        &self,
        bucket: Bucket,
        key: &str,
        ttl: impl Fn(&T) -> Option<Duration>,
        edit: impl Fn(&mut T) -> Result<(), E>,
        tell: impl FnOnce(&T, &T),
    ) -> Result<Entry<T>, E>
    where
        T: Clone + DeserializeOwned + PartialEq + Serialize,
        E: From<BridgeError>,
    {
        for _ in 0..MAX_CAS_ATTEMPTS {
            let stored = self.0.ask(Read { bucket, key: key.to_owned() }).await;
            let stored = stored.map_err(BridgeError::from)??.ok_or(BridgeError::NotFound)?;
            let read = stored.decode::<T>()?;
            let mut value = read.value.clone();
            edit(&mut value)?;
            if value == read.value {
                return Ok(read);
            }
            let mode = WriteMode::Update { revision: read.revision, ttl: ttl(&value) };
            let text = Versioned::encode_over(&stored.value, &read.value, &value).into();
            let write = Write { bucket, key: key.to_owned(), value: text, mode };
            match self.0.ask(write).await.map_err(BridgeError::from)? {
                Ok(revision) => {
                    tell(&read.value, &value);
                    return Ok(Entry { value, revision });
                }
                Err(BridgeError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(BridgeError::Conflict.into())
    }

    /// Applies `edit` to the document of session `id`, as [`Bridge::change`] does. A document in a
    /// final status goes away after an hour, after a day if the session has failed with an
    /// instance, or after 30 days if its instance may still be there, unless it
    /// [outlives its end](SessionDocument::outlives_its_end).
    ///
    /// What the change says of the session's life is told in its
    /// [timeline](Bridge::timeline).
    ///
    /// # Errors
    ///
    /// What `edit` returns, with the document left as it is, or [`BridgeError::NotFound`].
    pub async fn change_session<E: From<BridgeError>>(
        &self,
        id: &SessionId,
        edit: impl Fn(&mut SessionDocument) -> Result<(), E>,
    ) -> Result<Entry<SessionDocument>, E> {
        let tell = |before: &SessionDocument, after: &SessionDocument| {
            self.tell_timeline(id, TimelineEntry::of_change(before, after));
        };
        self.change_and_tell(Bucket::Sessions, id.as_str(), session_ttl, edit, tell).await
    }
}

/// How long a document stays from now on; `None` until somebody removes it.
fn session_ttl(document: &SessionDocument) -> Option<Duration> {
    if !document.status.is_final() || document.outlives_its_end() {
        return None;
    }
    Some(match document.is_listed() {
        _ if document.instance_left_behind || !document.is_over() => LEFT_BEHIND_TTL,
        true => FAILED_TTL,
        false => TOMBSTONE_TTL,
    })
}

#[cfg(test)]
mod tests {
    use stream_protocol::{KeptInstance, Origin, Request, Status};

    use super::*;

    fn document(status: Status, ephemeral: bool) -> SessionDocument {
        let request = Request { ephemeral, ..Request::for_app("a") };
        SessionDocument { status, request, ..SessionDocument::sample() }
    }

    #[test]
    fn a_failure_is_told_for_a_day_and_an_instance_left_behind_is_remembered_for_a_month() {
        let instance_id = Some("i".to_owned());
        let failed = SessionDocument { instance_id, ..document(Status::Error, true) };
        assert_eq!(session_ttl(&failed), Some(FAILED_TTL));
        let left = SessionDocument { instance_left_behind: true, ..failed.clone() };
        assert_eq!(session_ttl(&left), Some(LEFT_BEHIND_TTL));
        let since = 100.into();
        let kept_instance = Some(KeptInstance { since, restart_until: None, delete_at: None });
        let kept = SessionDocument { kept_instance, ..failed };
        assert_eq!(session_ttl(&kept), Some(LEFT_BEHIND_TTL), "its instance is there");
    }

    #[test]
    fn an_ended_session_is_told_for_an_hour_and_one_that_is_not_ephemeral_until_it_is_deleted() {
        for status in [Status::Terminated, Status::Error] {
            assert_eq!(session_ttl(&document(status, true)), Some(TOMBSTONE_TTL));
            assert_eq!(session_ttl(&document(status, false)), None);
            let of_ams = SessionDocument { origin: Origin::Ams, ..document(status, false) };
            assert_eq!(session_ttl(&of_ams), Some(TOMBSTONE_TTL), "no client asks for it");
        }
        for status in [Status::Created, Status::Active, Status::Terminating] {
            assert_eq!(session_ttl(&document(status, true)), None);
        }
    }
}
