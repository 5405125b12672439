//! The lease on being the client of a session, for sessions with `on_conflict: reject`.
//!
//! While the client's socket is open, its gateway renews the lease every [`RENEWAL_INTERVAL`].
//! While the client's stream is connected, the instance reports it, and the session document says
//! so. Clients close their socket when the stream is connected: [`HANDOVER`] bridges the time
//! between.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use stream_bridge::{Bridge, BridgeError, Entry};
use stream_protocol::subjects::Bucket;
use stream_protocol::{Client, Refusal, Role, SessionDocument, SessionId, Status};
use tokio::time::{MissedTickBehavior, interval};

use crate::session_documents;

/// How long a lease lasts that is not renewed: its gateway may have died.
const LEASE_TTL: Duration = Duration::from_secs(12);

/// Between two renewals of the lease of an open socket.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(4);

/// The time between the end of a socket and the report of the instance that its client is
/// connected.
const HANDOVER: Duration = Duration::from_secs(5);

/// How often a lease is written when others write it at the same time.
const MAX_ATTEMPTS: usize = 4;

/// The record of a lease: whose socket is open.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct LeaseHolder {
    generation: u64,
}

/// Whether the session has a client, by its lease or by a report of the instance.
pub(crate) async fn is_taken(bridge: &Bridge, document: &SessionDocument) -> Result<bool, Refusal> {
    let is_connected = document.status == Status::Active && document.idle.is_none();
    let holder = bridge.read::<LeaseHolder>(Bucket::Clients, document.id.as_str()).await?;
    let holds = holder.is_some_and(|holder| holder.value.generation == document.generation);
    Ok(is_connected || holds)
}

/// Renews the lease of the client of `generation` until the future is dropped.
pub(crate) async fn keep(bridge: &Bridge, session: &SessionId, generation: u64) {
    let mut ticks = interval(RENEWAL_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        put(bridge, session, generation, LEASE_TTL).await;
    }
}

/// Takes the lease for a client that is about to open its socket.
pub(crate) async fn reserve(bridge: &Bridge, session: &SessionId, generation: u64) {
    put(bridge, session, generation, LEASE_TTL).await;
}

/// Releases the lease after [`HANDOVER`]: the client has closed its socket, and the instance may be
/// about to report its stream.
pub(crate) async fn release_after_handover(bridge: &Bridge, session: &SessionId, generation: u64) {
    put(bridge, session, generation, HANDOVER).await;
}

/// Releases the lease of a client that does not answer any more, unless another client has taken
/// it.
pub(crate) async fn release(bridge: &Bridge, session: &SessionId, generation: u64) {
    let released = async {
        let holder = bridge.read::<LeaseHolder>(Bucket::Clients, session.as_str()).await?;
        match holder.filter(|holder| holder.value.generation == generation) {
            Some(Entry { revision, .. }) => {
                bridge.remove_revision(Bucket::Clients, session.as_str(), revision).await
            }
            None => Ok(()),
        }
    };
    if let Err(error) = released.await {
        log::debug!(session:%, error:%; "the client lease is left to expire");
    }
}

/// Writes the lease of the client of `generation`, unless a later client has it: a gateway that
/// stood still may not know yet that another client has joined. What was reserved for a join that
/// failed is no client's.
async fn put(bridge: &Bridge, session: &SessionId, generation: u64, ttl: Duration) {
    let (key, lease) = (session.as_str(), LeaseHolder { generation });
    let write = async || {
        let present = bridge.read::<LeaseHolder>(Bucket::Clients, key).await?;
        match present {
            Some(present)
                if present.value.generation > generation
                    && is_replaced(bridge, key, generation).await? =>
            {
                Ok(())
            }
            Some(Entry { revision, .. }) => {
                bridge.update_with_ttl(Bucket::Clients, key, &lease, revision, ttl).await.map(drop)
            }
            None => bridge.put_with_ttl(Bucket::Clients, key, &lease, ttl).await.map(drop),
        }
    };
    let mut written = write().await;
    for _ in 1..MAX_ATTEMPTS {
        if !matches!(written, Err(BridgeError::Conflict)) {
            break;
        }
        written = write().await;
    }
    if let Err(error) = written {
        log::debug!(session:%, error:%; "the client lease is not renewed");
    }
}

/// Whether another client has joined the session since that of `generation`.
async fn is_replaced(bridge: &Bridge, session: &str, generation: u64) -> Result<bool, BridgeError> {
    let document = bridge.read::<SessionDocument>(Bucket::Sessions, session).await?;
    Ok(document.is_none_or(|document| document.value.generation > generation))
}

/// Removes the client of `generation` from the document, which tells the instance that it has left.
/// Changes nothing when another client has come or the instance reports a connected stream.
pub(crate) async fn remove_client(
    bridge: &Bridge,
    session: &SessionId,
    generation: u64,
) -> Result<(), Refusal> {
    session_documents::change(bridge, session, |document| {
        if document.generation == generation && document.idle.is_some() {
            document.desired.client = None;
        }
        Ok(())
    })
    .await
    .map(drop)
}

/// Names `client` as the one of `generation` again, if the document names none. A viewer is not
/// named to an instance that would let it control the device.
pub(crate) async fn restore_client(
    bridge: &Bridge,
    session: &SessionId,
    generation: u64,
    client: Client,
) -> Result<(), Refusal> {
    session_documents::change(bridge, session, |document| {
        let is_safe = client.role != Role::View || document.has_roles();
        if document.generation == generation && is_safe {
            document.desired.client.get_or_insert(client);
        }
        Ok(())
    })
    .await
    .map(drop)
}
