//! Reading the sealed records of 0.1, which kept those of both services in one bucket.
//!
//! One record is asked for by its subject and nothing else, so that a service needs no permission
//! to read those of the other.

use actix::Message;
use async_nats::jetstream::context::{GetStreamError, GetStreamErrorKind};
use async_nats::jetstream::stream::DirectGetErrorKind;
use async_nats::jetstream::{ErrorCode, stream};
use stream_protocol::subjects::FORMER_KEYS;
use stream_supervisor::{Context, Handler, Reply};

use crate::actor::Actor;
use crate::batch;
use crate::buckets::Store;
use crate::connection::with_timeout;
use crate::records::RawEntry;
use crate::{Bridge, BridgeError, Entry};

/// Reads the record that 0.1 wrote under a key.
#[derive(Message)]
#[rtype(result = "Result<Option<RawEntry>, BridgeError>")]
pub(crate) struct ReadFormerKey {
    pub(crate) key: String,
}

impl Bridge {
    /// Returns what 0.1 left under `key` in its bucket of keys; `None` when there is no such bucket
    /// or no such record. Its revision says nothing of any other bucket.
    pub(crate) async fn read_former_key<T: serde::de::DeserializeOwned>(
        &self,
        key: &str,
    ) -> Result<Option<Entry<T>>, BridgeError> {
        let found = self.0.ask(ReadFormerKey { key: key.to_owned() }).await??;
        found.map(|raw| raw.decode()).transpose()
    }
}

impl Handler<ReadFormerKey> for Actor {
    fn handle(
        &mut self,
        ReadFormerKey { key }: &ReadFormerKey,
        _: &Context<Self>,
    ) -> Reply<Result<Option<RawEntry>, BridgeError>> {
        let subject = format!("$KV.{FORMER_KEYS}.{key}");
        self.with_store("read", async move |store: &Store| match former_bucket(store).await? {
            Some(bucket) => last_of(&bucket, subject).await,
            None => Ok(None),
        })
    }
}

/// Returns the stream behind the bucket, if the server says that there is one. One that does not
/// answer is not taken for one without.
async fn former_bucket(store: &Store) -> Result<Option<stream::Stream>, BridgeError> {
    let jetstream = store.connection().jetstream();
    let found = with_timeout(jetstream.get_stream(format!("KV_{FORMER_KEYS}"))).await?;
    match found {
        Ok(bucket) => Ok(Some(bucket)),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(BridgeError::disconnected(error)),
    }
}

fn is_missing(error: &GetStreamError) -> bool {
    matches!(error.kind(), GetStreamErrorKind::JetStream(error)
        if error.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

async fn last_of(
    bucket: &stream::Stream,
    subject: String,
) -> Result<Option<RawEntry>, BridgeError> {
    let message = match with_timeout(bucket.direct_get_last_for_subject(subject)).await? {
        Ok(message) => message,
        Err(error) if error.kind() == DirectGetErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(BridgeError::disconnected(error)),
    };
    let stored = !batch::is_delete_marker(&message.headers);
    Ok(stored.then_some(RawEntry { value: message.payload, revision: message.sequence }))
}
