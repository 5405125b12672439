//! Changing a session document: read, edit, write if nobody was faster.

use std::time::Duration;

use stream_protocol::subjects::Bucket;
use stream_protocol::{SessionDocument, SessionId};

use crate::{Bridge, BridgeError, Entry};

/// How often an edit is repeated on what somebody else wrote meanwhile.
const TRIES: usize = 16;

/// How long the document of a session that has ended stays, so that those who ask learn why.
const TOMBSTONE: Duration = Duration::from_secs(3600);

impl Bridge {
    /// Applies `edit` to the document of session `id` and stores it, checked against the revision
    /// it was read at; repeats both when somebody else was faster, so `edit` may run several times.
    /// Returns what is stored now. An error of `edit` leaves the document as it is; so does an edit
    /// that changes nothing. A document in a final status goes away after an hour, unless it is
    /// [kept](SessionDocument::is_kept).
    pub async fn change_session<E: From<BridgeError>>(
        &self,
        id: &SessionId,
        edit: impl Fn(&mut SessionDocument) -> Result<(), E>,
    ) -> Result<Entry<SessionDocument>, E> {
        for _ in 0..TRIES {
            let Some(read) = self.read::<SessionDocument>(Bucket::Sessions, id.as_str()).await?
            else {
                return Err(BridgeError::Missing.into());
            };
            let mut value = read.value.clone();
            edit(&mut value)?;
            if value == read.value {
                return Ok(read);
            }
            let written = if value.status.is_final() && !value.is_kept() {
                let (bucket, key) = (Bucket::Sessions, id.as_str());
                self.expire(bucket, key, &value, read.revision, TOMBSTONE).await
            } else {
                self.update(Bucket::Sessions, id.as_str(), &value, read.revision).await
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
