//! The one lease that a session has for a client, and who holds it.
//!
//! A client holds it while its socket is open, which the gateway that has the socket says every few
//! seconds, and while its stream is connected, which only the instance knows. Between the two there
//! is a moment, for clients close their socket when the stream is connected.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use stream_bridge::Bridge;
use stream_protocol::subjects::Bucket;
use stream_protocol::{Client, Refusal, SessionDocument, SessionId, Status};
use tokio::time::{MissedTickBehavior, interval};

use crate::session_documents;

/// How long a lease is held by a socket of which nothing is heard: its gateway may have died.
const LEASE_TTL: Duration = Duration::from_secs(12);

/// How often an open socket is spoken for.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(4);

/// From the end of a socket until the instance says that its client is connected.
const HANDOVER: Duration = Duration::from_secs(5);

/// Whose socket is open.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct LeaseHolder {
    generation: u64,
}

/// Whether the session has a client, which somebody who joins would have to wait for.
pub(crate) async fn is_taken(bridge: &Bridge, document: &SessionDocument) -> Result<bool, Refusal> {
    let is_connected = document.status == Status::Active && document.idle.is_none();
    let holder = bridge.read::<LeaseHolder>(Bucket::Clients, document.id.as_str()).await?;
    let holds = holder.is_some_and(|holder| holder.value.generation == document.generation);
    Ok(is_connected || holds)
}

/// Holds the lease for the client of `generation`, for ever; only where somebody asks who does.
pub(crate) async fn keep(bridge: &Bridge, session: &SessionId, generation: u64) {
    let mut ticks = interval(RENEWAL_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        put(bridge, session, generation, LEASE_TTL).await;
    }
}

/// Holds the lease for a client that is about to open its socket.
pub(crate) async fn reserve(bridge: &Bridge, session: &SessionId, generation: u64) {
    put(bridge, session, generation, LEASE_TTL).await;
}

/// The client has closed its socket: by now its stream may be connected.
pub(crate) async fn release_after_handover(bridge: &Bridge, session: &SessionId, generation: u64) {
    put(bridge, session, generation, HANDOVER).await;
}

/// The client does not answer any more. If another one has the lease by now, it keeps it.
pub(crate) async fn release(bridge: &Bridge, session: &SessionId, generation: u64) {
    let released = async {
        let holder = bridge.read::<LeaseHolder>(Bucket::Clients, session.as_str()).await?;
        match holder.filter(|holder| holder.value.generation == generation) {
            Some(_) => bridge.remove(Bucket::Clients, session.as_str()).await,
            None => Ok(()),
        }
    };
    if let Err(error) = released.await {
        log::debug!("the client lease of session {session} becomes free by itself: {error}");
    }
}

async fn put(bridge: &Bridge, session: &SessionId, generation: u64, ttl: Duration) {
    let holder = LeaseHolder { generation };
    let put = bridge.put_with_ttl(Bucket::Clients, session.as_str(), &holder, ttl).await;
    if let Err(error) = put {
        log::debug!("the client lease of session {session} is not held: {error}");
    }
}

/// Tells the instance that its client has left, if it has: another one has not come, and the
/// instance does not say itself that its stream goes on.
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

/// Names `client` as the one of `generation` again, if it was taken for gone.
pub(crate) async fn restore_client(
    bridge: &Bridge,
    session: &SessionId,
    generation: u64,
    client: Client,
) -> Result<(), Refusal> {
    session_documents::change(bridge, session, |document| {
        if document.generation == generation {
            document.desired.client.get_or_insert(client);
        }
        Ok(())
    })
    .await
    .map(drop)
}
