//! A connection to NATS for each thread that carries signals.
//!
//! A signal that comes in on one thread and goes out on another waits for that one to wake up.
//! Over the connection of the bridge that happens four times on its way to the other end and back,
//! and twice for what acknowledges it, which was measured to be a third of what our hops cost.

use std::sync::Arc;

use actix::Message;
use parking_lot::Mutex;
use stream_supervisor::{Context, Handler, Reply, spawn_detached};
use tokio::time::sleep;

use crate::actor::Actor;
use crate::connect::{self, ConnectConfig, RECONNECT};
use crate::connection::Connection;
use crate::signal_log::SignalLog;
use crate::{Bridge, BridgeError};

/// Signals of one subject that wait for a slow reader; it finds the gap behind them, and reads the
/// log. A signal may have 256 KiB.
const WAITING_SIGNALS: usize = 256;

/// Asks for the signal log over the connection of the bridge.
#[derive(Message)]
#[rtype(result = "Result<SignalLog, BridgeError>")]
pub(crate) struct GetConnection;

/// Asks for what the bridge connects with. Answered once the bridge has made sure of the store.
#[derive(Message)]
#[rtype(result = "Result<ConnectConfig, BridgeError>")]
pub(crate) struct GetConnectConfig;

/// Reads and writes signals, over a connection of one thread while there is one and over that of
/// the bridge otherwise. Clones share the connection.
#[derive(Clone)]
pub struct SignalConnection {
    bridge: Bridge,
    own: Arc<Mutex<Option<SignalLog>>>,
}

impl Bridge {
    /// Returns what reads and writes signals over the connection of the bridge. A thread that
    /// carries many starts [one of its own](SignalConnection::start).
    pub fn signals(&self) -> SignalConnection {
        SignalConnection { bridge: self.clone(), own: Arc::default() }
    }
}

impl SignalConnection {
    /// Connects in the background once the bridge has, and again when that is lost, until the
    /// calling thread ends. Needs the runtime of that thread.
    pub fn start(bridge: &Bridge) -> Self {
        let connection = bridge.signals();
        spawn_detached("the nats connection of a thread", maintain(connection.clone()));
        connection
    }

    /// Returns the bridge that this connection stands beside.
    pub(crate) fn bridge(&self) -> &Bridge {
        &self.bridge
    }

    /// Returns the log over the connection that serves best now.
    pub(crate) async fn current(&self) -> Result<SignalLog, BridgeError> {
        let own = self.own.lock().clone();
        match own.filter(SignalLog::is_connected) {
            Some(own) => Ok(own),
            None => self.bridge.0.ask(GetConnection).await?,
        }
    }
}

/// Makes the connection of a thread, and another one whenever its task has ended.
async fn maintain(connection: SignalConnection) {
    let mut failures = 0;
    loop {
        match open(&connection.bridge).await {
            Ok((log, client)) => {
                failures = 0;
                *connection.own.lock() = Some(log);
                client.ended().await;
                *connection.own.lock() = None;
            }
            // The bridge says so, louder.
            Err(cause) => log::debug!("a thread has no nats connection of its own: {cause}"),
        }
        failures += 1;
        sleep(RECONNECT.after(failures)).await;
    }
}

async fn open(bridge: &Bridge) -> Result<(SignalLog, Connection), String> {
    let answer = bridge.0.ask(GetConnectConfig).await.map_err(|error| error.to_string())?;
    let mut config = answer.map_err(|error| error.to_string())?;
    config.unit.push_str(", signals");
    config.subscription_capacity = WAITING_SIGNALS;
    // A server that is about to end is left when it goes: the bridge has gone elsewhere before, and
    // serves meanwhile.
    let failed = |cause| log::debug!("the nats connection of a thread: {cause}");
    let connection = connect::connect(&config, drop, failed).await?;
    Ok((SignalLog::open(connection.clone()).await?, connection))
}

impl Handler<GetConnection> for Actor {
    fn handle(
        &mut self,
        _: &GetConnection,
        _: &Context<Self>,
    ) -> Reply<Result<SignalLog, BridgeError>> {
        self.store().map(|store| store.log.clone()).into()
    }
}

impl Handler<GetConnectConfig> for Actor {
    fn handle(
        &mut self,
        _: &GetConnectConfig,
        _: &Context<Self>,
    ) -> Reply<Result<ConnectConfig, BridgeError>> {
        self.store().map(|_| self.connect_config()).into()
    }
}
