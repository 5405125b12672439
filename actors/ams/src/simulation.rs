//! The handle of a client whose AMS is simulated.

use std::sync::Arc;

use stream_supervisor::Supervisor;

use crate::client::AmsClient;
use crate::events::EventChannels;
use crate::simulated_ams::SimulatedAms;
use crate::{Ams, AmsError, Config, actor};

/// A configuration that was read once, for many clients.
pub struct Template {
    client: AmsClient,
    config: Config,
}

impl Template {
    /// Reads the certificates.
    ///
    /// # Errors
    ///
    /// As [`Ams::start`].
    pub fn new(config: Config) -> Result<Self, AmsError> {
        Ok(Self { client: AmsClient::new(&config)?, config })
    }

    /// Starts a client that asks `service` in the place of AMS.
    pub fn start(&self, service: Arc<dyn SimulatedAms>, supervisor: &Supervisor) -> Ams {
        let channels = EventChannels::default();
        let client = self.client.of_simulated(service);
        let (mailbox, metrics) = actor::start_with(client, &self.config, &channels, supervisor);
        Ams { mailbox, channels, metrics }
    }
}
