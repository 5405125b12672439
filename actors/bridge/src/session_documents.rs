//! Changing a session document: read, edit, write if nobody was faster.

use std::time::Duration;

use stream_protocol::subjects::Bucket;
use stream_protocol::{SessionDocument, SessionId};

use crate::{Bridge, BridgeError, Entry};

/// How often an edit is repeated on what somebody else wrote meanwhile.
const MAX_CAS_ATTEMPTS: usize = 16;

/// How long the document of a session that has ended stays, so that those who ask learn why.
const TOMBSTONE_TTL: Duration = Duration::from_secs(3600);

impl Bridge {
    /// Applies `edit` to the document of session `id`, stores it, checked against the revision it
    /// was read at, and returns what is stored now. Repeats both when somebody else was faster, so
    /// `edit` may run several times. An edit that changes nothing is not stored. A document in a
    /// final status goes away after an hour, unless it
    /// [outlives its end](SessionDocument::outlives_its_end).
    ///
    /// # Errors
    ///
    /// What `edit` returns, with the document left as it is, or [`BridgeError::NotFound`].
    pub async fn change_session<E: From<BridgeError>>(
        &self,
        id: &SessionId,
        edit: impl Fn(&mut SessionDocument) -> Result<(), E>,
    ) -> Result<Entry<SessionDocument>, E> {
        for _ in 0..MAX_CAS_ATTEMPTS {
            let Some(read) = self.read::<SessionDocument>(Bucket::Sessions, id.as_str()).await?
            else {
                return Err(BridgeError::NotFound.into());
            };
            let mut value = read.value.clone();
            edit(&mut value)?;
            if value == read.value {
                return Ok(read);
            }
            let (bucket, key) = (Bucket::Sessions, id.as_str());
            let written = match ttl(&value) {
                Some(ttl) => self.update_with_ttl(bucket, key, &value, read.revision, ttl).await,
                None => self.update(bucket, key, &value, read.revision).await,
            };
            match written {
                Ok(revision) => return Ok(Entry { value, revision }),
                Err(BridgeError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(BridgeError::Conflict.into())
    }
}

/// How long a document stays from now on; `None` until somebody removes it.
fn ttl(document: &SessionDocument) -> Option<Duration> {
    (document.status.is_final() && !document.outlives_its_end()).then_some(TOMBSTONE_TTL)
}

#[cfg(test)]
mod tests {
    use stream_protocol::{Origin, Request, Status};

    use super::*;

    fn document(status: Status, ephemeral: bool) -> SessionDocument {
        let request = Request { ephemeral, ..Request::for_app("a") };
        SessionDocument { status, request, ..SessionDocument::sample() }
    }

    #[test]
    fn an_ended_session_is_told_for_an_hour_and_one_that_is_not_ephemeral_until_it_is_deleted() {
        for status in [Status::Terminated, Status::Error] {
            assert_eq!(ttl(&document(status, true)), Some(TOMBSTONE_TTL));
            assert_eq!(ttl(&document(status, false)), None);
            let of_ams = SessionDocument { origin: Origin::Ams, ..document(status, false) };
            assert_eq!(ttl(&of_ams), Some(TOMBSTONE_TTL), "no client asks for it");
        }
        for status in [Status::Created, Status::Active, Status::Terminating] {
            assert_eq!(ttl(&document(status, true)), None);
        }
    }
}
