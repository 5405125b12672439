//! What both services are made of below their own actors.

use std::time::Duration;

use stream_bridge::Bridge;
use stream_protocol::subjects::NatsUser;
use stream_supervisor::{Drain, Supervisor};
use stream_tls::{CertificateReloader, TicketConfig, share_ticket_keys};

/// How long the actors have to finish, after the last request was answered.
const SHUT_DOWN: Duration = Duration::from_secs(10);

/// The supervisor and the actors that both services start first, and the order to drain.
pub(crate) struct Base {
    pub(crate) supervisor: Supervisor,
    pub(crate) certificates: CertificateReloader,
    pub(crate) bridge: Bridge,
    pub(crate) drain: Drain,
}

impl Base {
    /// Starts the certificates, the connection to NATS, and the TLS session tickets, whose keys the
    /// units of `service` share. `unit` is what NATS calls this process.
    pub(crate) fn start(
        service: stream_tokens::Service,
        unit: &str,
        tls: stream_tls::Config,
        nats: stream_bridge::Config,
        tokens: &stream_tokens::Config,
    ) -> anyhow::Result<Self> {
        let supervisor = Supervisor::default();
        let certificates = CertificateReloader::start(tls, &supervisor)?;
        let user = match service {
            stream_tokens::Service::Agent => NatsUser::Agent,
            stream_tokens::Service::Gateway => NatsUser::Gateway,
        };
        let bridge = Bridge::start_as(user, nats, unit, &supervisor)?;
        let tickets = TicketConfig {
            bucket: service.keys(),
            record: match service {
                stream_tokens::Service::Agent => "agent.tickets",
                stream_tokens::Service::Gateway => "gateway.tickets",
            },
            sealing_key: tokens.sealing_key.clone(),
            state: tokens.state.clone(),
        };
        let ticketer = certificates.identity().ticketer().clone();
        share_ticket_keys(tickets, ticketer, bridge.clone(), &supervisor)?;
        Ok(Self { supervisor, certificates, bridge, drain: Drain::default() })
    }
}

/// Stops the actors, the last one started first.
pub(crate) async fn shut_down(supervisor: &Supervisor) {
    supervisor.shut_down(SHUT_DOWN).await;
}
