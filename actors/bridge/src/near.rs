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
use crate::signals::Log;
use crate::{Bridge, BridgeError, Config, Pen, Tail, link};

/// Lends the connection of the bridge, as it stands.
#[derive(Message)]
#[rtype(result = "Result<Log, BridgeError>")]
pub(crate) struct Borrow;

/// Asks how the bridge has connected, and in whose name. It makes sure of the store, and answers
/// once that is there.
#[derive(Message)]
#[rtype(result = "Result<(Config, String), BridgeError>")]
pub(crate) struct AskAddress;

/// Writes and reads signals over a connection of one thread while that stands, and over the one of
/// the bridge otherwise. Clones share the connection.
#[derive(Clone)]
pub struct Near {
    bridge: Bridge,
    own: Arc<Mutex<Option<Log>>>,
}

impl Near {
    /// Connects in the background once the bridge has, and again when that is lost, until the
    /// calling thread ends. Needs the runtime of that thread.
    pub fn start(bridge: &Bridge) -> Self {
        let near = Self::none(bridge);
        spawn_detached("the nats connection of a thread", keep(near.clone()));
        near
    }

    /// Has only the connection of the bridge.
    pub(crate) fn none(bridge: &Bridge) -> Self {
        Self { bridge: bridge.clone(), own: Arc::default() }
    }

    /// Returns a writer for many signals of one session. It asks for nothing before its first call.
    pub fn pen(&self, session: &SessionId, direction: Direction) -> Pen {
        Pen::new(self.clone(), session, direction)
    }

    /// Returns a reader of the signals after `after`, of all generations; without a cursor of those
    /// of `generation` from the beginning. It asks for nothing before its first call.
    pub fn tail(
        &self,
        session: &SessionId,
        direction: Direction,
        after: Option<Cursor>,
        generation: u64,
    ) -> Tail {
        Tail::new(self.clone(), session, direction, after, generation)
    }

    /// Lends the connection that serves best now.
    pub(crate) async fn lend(&self) -> Result<Log, BridgeError> {
        let own = lock(&self.own).clone();
        match own.filter(Log::stands) {
            Some(own) => Ok(own),
            None => self.bridge.0.ask(Borrow).await?,
        }
    }
}

/// Makes the connection, and another one whenever its task has ended.
async fn keep(near: Near) {
    let mut attempts = 0;
    loop {
        match connect(&near.bridge).await {
            Ok(log) => {
                attempts = 0;
                *lock(&near.own) = Some(log.clone());
                link::ended(&log.client).await;
                *lock(&near.own) = None;
            }
            // The bridge says so, louder.
            Err(why) => log::debug!("a thread has no nats connection of its own: {why}"),
        }
        attempts += 1;
        sleep(link::pause(attempts)).await;
    }
}

async fn connect(bridge: &Bridge) -> Result<Log, String> {
    let address = bridge.0.ask(AskAddress).await.map_err(|error| error.to_string())?;
    let (config, unit) = address.map_err(|error| error.to_string())?;
    let (connects, gaps) = watch::channel(0);
    let connects = Arc::new(connects);
    // A server that is about to end is left when it goes: the bridge has gone elsewhere before, and
    // serves meanwhile.
    let on_event = move |event| {
        if matches!(event, Event::Connected) {
            connects.send_modify(|connects| *connects += 1);
        }
    };
    let client = link::connect(&config, &format!("{unit}, signals"), on_event).await?;
    Log::open(client, gaps).await
}
