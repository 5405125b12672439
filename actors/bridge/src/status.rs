//! Whether NATS is connected, for those who report it.

use actix::Message;
use stream_supervisor::{Context, Handler, Reply};

use crate::actor::Actor;

/// Whether NATS is connected, and if not, why.
#[derive(Clone, Debug)]
pub struct ConnectionStatus {
    pub connected: bool,
    /// The name of the server, if it is connected.
    pub server: Option<String>,
    pub error: Option<String>,
}

/// Asks for the [`ConnectionStatus`].
#[derive(Message)]
#[rtype(result = "ConnectionStatus")]
pub(crate) struct GetStatus;

impl Handler<GetStatus> for Actor {
    fn handle(&mut self, _: &GetStatus, _: &Context<Self>) -> Reply<ConnectionStatus> {
        let status = match self.ready() {
            Ok(ready) => {
                let server = ready.store.connection().client.server_info().server_name;
                ConnectionStatus { connected: true, server: Some(server), error: None }
            }
            Err(cause) => ConnectionStatus { connected: false, server: None, error: Some(cause) },
        };
        status.into()
    }
}
