//! The gateway: its actors, in the order they depend on each other.

use std::path::Path;

use anyhow::Context;
use serde::Deserialize;
use stream_bridge::Bridge;
use stream_gateway::Gateway;
use stream_pki::Pki;
use stream_supervisor::Supervisor;
use stream_tokens::{Side, Tokens};

use crate::config::{self, ConfigError};

/// The configuration of the gateway, a section for each actor.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayConfig {
    pub gateway: stream_gateway::Config,
    pub tls: stream_pki::Config,
    pub nats: stream_bridge::Config,
    pub tokens: stream_tokens::Config,
}

impl GatewayConfig {
    /// Reads the file and looks at everything it names, without starting anything.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        config::read(path, Self::check)
    }

    fn check(&self) -> anyhow::Result<()> {
        self.tls.check().context("[tls]")?;
        self.nats.check().context("[nats]")?;
        self.tokens.check().context("[tokens]")?;
        self.gateway.check().context("[gateway]")?;
        Ok(())
    }
}

/// The running gateway.
pub struct RunningGateway {
    pub supervisor: Supervisor,
    pub gateway: Gateway,
}

impl RunningGateway {
    /// Starts all actors. What cannot be started is an error here; NATS is waited for in the
    /// background. Needs a running actix system.
    pub fn start(config: GatewayConfig) -> anyhow::Result<Self> {
        let supervisor = Supervisor::default();
        let pki = Pki::start(config.tls, &supervisor)?;
        let bridge = Bridge::start(config.nats, "stream-gateway", &supervisor)?;
        let tokens = Tokens::start(config.tokens, Side::Gateway, bridge.clone(), &supervisor)?;
        let gateway =
            Gateway::start(config.gateway, pki.served(), bridge, tokens, supervisor.clone())?;
        Ok(Self { supervisor, gateway })
    }

    /// Lets requests under way finish, then stops the actors, the last one started first.
    pub async fn stop(&self) {
        self.gateway.stop().await;
        self.supervisor.stop();
    }
}
