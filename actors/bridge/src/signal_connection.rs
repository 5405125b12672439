//! A connection for each thread that carries signals.
//!
//! A signal that comes in on one thread and goes out on another waits for that one to wake up.
//! Over the connection of the bridge that happens four times on its way to the other end and back,
//! and twice for what acknowledges it, which was measured to be a third of what our hops cost.

use std::sync::{Arc, Mutex};

use actix::Message;
use async_nats::Event;
use stream_protocol::{Cursor, Direction, SessionId};
use stream_supervisor::spawn_detached;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::actor::lock;
use crate::signal_log::SignalLog;
use crate::{Bridge, BridgeError, Config, SignalReader, SignalWriter, connect};

/// Lends the connection of the bridge, as it stands.
#[derive(Message)]
#[rtype(result = "Result<SignalLog, BridgeError>")]
pub(crate) struct GetConnection;

/// Asks how the bridge has connected, and in whose name. It makes sure of the store, and answers
/// once that is there.
#[derive(Message)]
#[rtype(result = "Result<(Config, String), BridgeError>")]
pub(crate) struct GetConnectConfig;

/// Writes and reads signals over a connection of one thread while that stands, and over the one of
/// the bridge otherwise. Clones share the connection.
#[derive(Clone)]
pub struct SignalConnection {
    bridge: Bridge,
    own: Arc<Mutex<Option<SignalLog>>>,
}

impl SignalConnection {
    /// Connects in the background once the bridge has, and again when that is lost, until the
    /// calling thread ends. Needs the runtime of that thread.
    pub fn start(bridge: &Bridge) -> Self {
        let connection = Self::shared(bridge);
        spawn_detached("the nats connection of a thread", maintain(connection.clone()));
        connection
    }

    /// Has only the connection of the bridge.
    pub(crate) fn shared(bridge: &Bridge) -> Self {
        Self { bridge: bridge.clone(), own: Arc::default() }
    }

    /// Returns a writer for many signals of one session. It asks for nothing before its first call.
    pub fn writer(&self, session: &SessionId, direction: Direction) -> SignalWriter {
        SignalWriter::new(self.clone(), session, direction)
    }

    /// Returns a reader of the signals after `after`, of all generations; without a cursor of those
    /// of `generation` from the beginning. It asks for nothing before its first call.
    pub fn reader(
        &self,
        session: &SessionId,
        direction: Direction,
        after: Option<Cursor>,
        generation: u64,
    ) -> SignalReader {
        SignalReader::new(self.clone(), session, direction, after, generation)
    }

    /// Lends the connection that serves best now.
    pub(crate) async fn current(&self) -> Result<SignalLog, BridgeError> {
        let own = lock(&self.own).clone();
        match own.filter(SignalLog::is_connected) {
            Some(own) => Ok(own),
            None => self.bridge.0.ask(GetConnection).await?,
        }
    }
}

/// Makes the connection, and another one whenever its task has ended.
async fn maintain(connection: SignalConnection) {
    let mut attempts = 0;
    loop {
        match connect_own(&connection.bridge).await {
            Ok(log) => {
                attempts = 0;
                *lock(&connection.own) = Some(log.clone());
                connect::client_ended(&log.client).await;
                *lock(&connection.own) = None;
            }
            // The bridge says so, louder.
            Err(why) => log::debug!("a thread has no nats connection of its own: {why}"),
        }
        attempts += 1;
        sleep(connect::backoff(attempts)).await;
    }
}

async fn connect_own(bridge: &Bridge) -> Result<SignalLog, String> {
    let answer = bridge.0.ask(GetConnectConfig).await.map_err(|error| error.to_string())?;
    let (config, unit) = answer.map_err(|error| error.to_string())?;
    let (connects, reconnects) = watch::channel(0);
    let connects = Arc::new(connects);
    // A server that is about to end is left when it goes: the bridge has gone elsewhere before, and
    // serves meanwhile.
    let on_event = move |event| {
        if matches!(event, Event::Connected) {
            connects.send_modify(|connects| *connects += 1);
        }
    };
    let client = connect::connect(&config, &format!("{unit}, signals"), on_event).await?;
    SignalLog::open(client, reconnects).await
}
