//! Who answers what the bridge is asked: the actor that holds the connection to NATS or, in a
//! simulation, what stands in for it.

use actix::Message;
use stream_supervisor::{AskError, Handler, Mailbox};

use crate::actor::Actor;
#[cfg(not(feature = "simulation"))]
use crate::actor::Actor as StandIn;
#[cfg(feature = "simulation")]
use crate::stand_in::StandIn;

#[derive(Clone)]
pub(crate) enum Backend {
    Nats(Mailbox<Actor>),
    #[cfg(feature = "simulation")]
    Simulated(Mailbox<StandIn>),
}

impl Backend {
    /// Queues `question` and returns its answer, as [`Mailbox::ask`] does.
    pub(crate) async fn ask<Q>(&self, question: Q) -> Result<Q::Result, AskError>
    where
        Q: Message<Result: Send> + Send + Sync + 'static,
        Actor: Handler<Q>,
        StandIn: Handler<Q>,
    {
        match self {
            Self::Nats(mailbox) => mailbox.ask(question).await,
            #[cfg(feature = "simulation")]
            Self::Simulated(mailbox) => mailbox.ask(question).await,
        }
    }

    /// Queues `question` and does not wait, as [`Mailbox::tell`] does.
    pub(crate) fn tell<Q>(&self, question: Q) -> Result<(), AskError>
    where
        Q: Message<Result: Send> + Send + Sync + 'static,
        Actor: Handler<Q>,
        StandIn: Handler<Q>,
    {
        match self {
            Self::Nats(mailbox) => mailbox.tell(question),
            #[cfg(feature = "simulation")]
            Self::Simulated(mailbox) => mailbox.tell(question),
        }
    }
}
