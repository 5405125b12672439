//! The agent: its actors, in the order a request flows through them.

use std::path::Path;

use anyhow::Context;
use serde::Deserialize;
use stream_ams::Ams;
use stream_api::Api;
use stream_bridge::Bridge;
use stream_pki::Pki;
use stream_sessions::{Neighbours, Sessions};
use stream_supervisor::Supervisor;
use stream_tokens::{Side, Tokens};
use stream_turn::Turn;

use crate::config::{self, ConfigError};

/// The configuration of the agent, a section for each actor.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentConfig {
    pub agent: stream_sessions::Config,
    #[serde(default)]
    pub api: stream_api::Config,
    pub tls: stream_pki::Config,
    pub nats: stream_bridge::Config,
    pub ams: stream_ams::Config,
    pub tokens: stream_tokens::Config,
    pub turn: stream_turn::Config,
}

impl AgentConfig {
    /// Reads the file and looks at everything it names, without starting anything.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        config::read(path, Self::check)
    }

    fn check(&self) -> anyhow::Result<()> {
        self.tls.check().context("[tls]")?;
        self.nats.check().context("[nats]")?;
        self.ams.check().context("[ams]")?;
        self.tokens.check().context("[tokens]")?;
        self.turn.check().context("[turn]")?;
        self.api.check().context("[api]")?;
        Ok(())
    }
}

/// The running agent.
pub struct Agent {
    pub supervisor: Supervisor,
    pub api: Api,
}

impl Agent {
    /// Starts all actors. What cannot be started is an error here; what is away, such as NATS or
    /// AMS, is waited for in the background. Needs a running actix system.
    pub fn start(config: AgentConfig) -> anyhow::Result<Self> {
        let supervisor = Supervisor::default();
        let unit = format!("stream-agent {}", config.agent.name);

        let pki = Pki::start(config.tls, &supervisor)?;
        let bridge = Bridge::start(config.nats, &unit, &supervisor)?;
        let ams = Ams::start(config.ams, &supervisor)?;
        let tokens = Tokens::start(config.tokens, Side::Agent, bridge.clone(), &supervisor)?;
        let turn = Turn::start(config.turn, bridge.clone(), &supervisor)?;
        let neighbours = Neighbours { ams, bridge, tokens: tokens.clone(), turn };
        let sessions = Sessions::start(config.agent, pki.served(), neighbours, &supervisor);
        let api = Api::start(config.api, pki.served(), sessions, tokens, supervisor.clone())
            .context("the api cannot listen")?;
        Ok(Self { supervisor, api })
    }

    /// Lets requests under way finish, then stops the actors, the last one started first.
    pub async fn stop(&self) {
        self.api.stop().await;
        self.supervisor.stop();
    }
}
