//! Whether NATS is connected, for those who report it.

use actix::Message;
use stream_supervisor::{Context, Handler, Reply};

use crate::actor::Actor;

/// Whether NATS is connected and stores what it is given, and if not, why.
#[derive(Clone, Debug)]
pub struct ConnectionStatus {
    pub connected: bool,
    /// The name of the server, if there is one.
    pub server: Option<String>,
    /// How many servers there are, as the one that serves us tells; 0 while there is none.
    pub servers: usize,
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
                let info = ready.store.connection().client.server_info();
                // One alone names nobody.
                let servers = info.connect_urls.len().max(1);
                let server = Some(info.server_name);
                let error = self.health().failure();
                let error = error.map(|cause| format!("NATS does not store anything: {cause}"));
                ConnectionStatus { connected: error.is_none(), server, servers, error }
            }
            Err(cause) => {
                ConnectionStatus { connected: false, server: None, servers: 0, error: Some(cause) }
            }
        };
        status.into()
    }
}
