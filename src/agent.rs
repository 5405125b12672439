//! The agent: its actors, in the order a request flows through them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use stream_admin::Admin;
use stream_ams::{Ams, PinUpdate};
use stream_api::Api;
use stream_audit::AuditLog;
use stream_http::HttpConfig;
use stream_metrics::{Collectors, Process};
use stream_pki::Seal;
use stream_protocol::{Refusal, error_chain};
use stream_sessions::{Dependencies, Sessions};
use stream_supervisor::{Drain, Supervisor};
use stream_tls::SetPin;
use stream_tokens::Tokens;
use stream_turn::{ServerChanges, Turn};

use crate::audit::AuditSources;
use crate::base::{Base, shut_down};
use crate::config::{self, ConfigError};
use crate::logging::LogConfig;
use crate::operator_audit::OperatorAudit;
use crate::program::Service;
use crate::reload::{OrReload, ReloadReport, Reloader as FileReloader, reloaded};
use crate::service_status::{Away, not_found};
use crate::surroundings::Surroundings;

/// Whose tokens an agent mints and takes.
const TOKENS: stream_tokens::Service = stream_tokens::Service::Agent;

/// What the agent takes up while it runs: which relays and STUN servers there are, and the secret
/// that those begin with that are in no pool. All else takes a restart.
const LIVE: [&str; 4] = ["turn.first_secret", "turn.pools", "turn.servers", "turn.stun"];

/// The configuration of the agent, a section for each actor.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AgentConfig {
    pub agent: stream_sessions::Config,
    #[serde(default)]
    pub api: stream_api::Config,
    #[serde(default = "HttpConfig::at_agent", deserialize_with = "HttpConfig::read_at_agent")]
    pub http: HttpConfig,
    pub admin: stream_admin::Config,
    #[serde(default)]
    pub debug: stream_admin::Debug,
    #[serde(default)]
    pub log: LogConfig,
    #[serde(default)]
    pub audit: stream_audit::Config,
    pub tls: stream_tls::Config,
    pub nats: stream_bridge::Config,
    pub ams: stream_ams::Config,
    pub tokens: stream_tokens::Config,
    pub turn: stream_turn::Config,
}

impl AgentConfig {
    /// Reads the file and looks at everything it names, without starting anything.
    ///
    /// # Errors
    ///
    /// Names the key or the file that cannot be used, in one sentence.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        config::read(path, Self::check)
    }

    /// Returns where the audit log is.
    pub(crate) fn audit_sources(&self) -> AuditSources {
        let unit = format!("stream-agent {}", self.agent.name);
        AuditSources::of(TOKENS, unit, &self.audit, &self.tokens, &self.nats)
    }

    fn check(&self) -> anyhow::Result<()> {
        self.agent.check().context("[agent]")?;
        self.audit.check().context("[audit]")?;
        self.tls.check().context("[tls]")?;
        self.nats.check().context("[nats]")?;
        self.ams.check().context("[ams]")?;
        self.tokens.check().context("[tokens]")?;
        self.turn.check().context("[turn]")?;
        self.api.check().context("[api]")?;
        self.http.check().map_err(anyhow::Error::msg).context("[http]")?;
        Ok(())
    }
}

/// The running agent.
pub struct Agent {
    pub supervisor: Supervisor,
    pub tokens: Tokens,
    pub admin: Admin,
    pub api: Api,
    reloader: Reloader,
    sessions: Sessions,
    drain: Drain,
    drain_timeout: Duration,
}

impl Agent {
    /// Starts all actors, which wait in the background for what is away, such as NATS or AMS. Needs
    /// a running actix system.
    ///
    /// # Errors
    ///
    /// A configuration, file or address cannot be used.
    pub fn start(config: AgentConfig) -> anyhow::Result<Self> {
        Self::start_in(Surroundings::default(), config)
    }

    /// Starts all actors in the surroundings that it finds, as [`Agent::start`] does in none.
    ///
    /// # Errors
    ///
    /// Those of [`Agent::start`].
    pub fn start_in(surroundings: Surroundings, config: AgentConfig) -> anyhow::Result<Self> {
        let started_with = config.clone();
        let audit = config.audit_sources();
        let base = Base::start(TOKENS, &audit.unit, config.tls, config.nats, &config.tokens)?;
        let Base { supervisor, certificates, bridge, drain } = base;
        let audit = audit.start(&bridge)?;
        let ams = Ams::start(config.ams, &supervisor)?;
        if config.agent.pin {
            certificates.pin_by(pin_at_ams(&ams, &config.agent.url));
        }
        let seal = Arc::new(Seal::load(&config.tokens.sealing_key)?);
        let tokens = Tokens::start(config.tokens, TOKENS, bridge.clone(), &supervisor)?;
        let turn = Turn::start(config.turn, bridge.clone(), &supervisor)?;
        let (agent, places, remote_drain) =
            (config.agent.name.clone(), config.agent.capacity, config.agent.remote_drain);
        let dependencies = Dependencies {
            ams: ams.clone(),
            bridge: bridge.clone(),
            tokens: tokens.clone(),
            turn: turn.clone(),
            seal,
        };
        let sessions = Sessions::start(
            config.agent,
            certificates.identity(),
            dependencies,
            &drain,
            &supervisor,
        );
        let reloader = Reloader {
            files: Arc::new(FileReloader::new(
                &surroundings,
                certificates.clone(),
                started_with,
                &LIVE,
            )),
            turn: turn.clone(),
            audit: audit.clone(),
        };
        let asked = (tokens.clone(), turn.clone(), reloader.clone());
        let handler = move |request| answer(asked.clone(), request);
        let drain_timeout = config.admin.drain();
        let witness = OperatorAudit(audit.clone());
        let admin =
            Admin::start(config.admin, config.debug, &supervisor, &drain, witness, handler)?;
        let metrics = Collectors::new(vec![
            Box::new(Process::started_now()),
            Box::new(certificates.clone()),
            Box::new(bridge.clone()),
            Box::new(ams),
            Box::new(turn.clone()),
            Box::new(sessions.clone()),
        ]);
        let api = Api::start(
            config.api,
            (config.http, surroundings.listener),
            (certificates.identity(), metrics),
            sessions.clone(),
            tokens.clone(),
            &drain,
            supervisor.clone(),
        )
        .context("the api cannot listen")?;
        stream_overview::start(stream_overview::Sources {
            agent,
            places,
            remote_drain,
            bridge,
            drain: drain.clone(),
            sessions: sessions.clone(),
            supervisor: supervisor.clone(),
            tokens: tokens.clone(),
            turn: turn.clone(),
        });
        Ok(Self { supervisor, tokens, admin, api, reloader, sessions, drain, drain_timeout })
    }

    /// Lets requests under way finish, then stops the actors, the last one started first.
    pub async fn stop(&self) {
        self.api.stop().await;
        self.sessions.withdraw_presence().await;
        self.admin.remove();
        shut_down(&self.supervisor).await;
        // What was noted by the way is on the disk then.
        let _ = self.reloader.audit.head().await;
    }
}

/// Returns what tells AMS, which knows one certificate of the agent that it asks for sessions, the
/// one of this agent, if it asks the agent at `url`.
fn pin_at_ams(ams: &Ams, url: &str) -> SetPin {
    let (ams, url) = (ams.clone(), url.to_owned());
    Arc::new(move |fingerprint| {
        let (ams, url) = (ams.clone(), url.clone());
        Box::pin(async move {
            match ams.pin_agent(&url, fingerprint).await {
                Ok(PinUpdate::Set) => {
                    log::info!(fingerprint:%; "ams expects this certificate of the agent now");
                    Ok(())
                }
                Ok(PinUpdate::Same | PinUpdate::NotNamed) => Ok(()),
                Err(error) => {
                    let error = error_chain(&error);
                    Err(format!("agent.api.fingerprint of ams cannot be looked after: {error}"))
                }
            }
        })
    })
}

impl Service for Agent {
    async fn fatal(&self) -> String {
        self.supervisor.fatal().await
    }

    fn supervisor(&self) -> Supervisor {
        self.supervisor.clone()
    }

    async fn away(&self) -> Away {
        not_found(self.sessions.readiness().await)
    }

    fn drain(&self) -> &Drain {
        &self.drain
    }

    fn drain_timeout(&self) -> Duration {
        self.drain_timeout
    }

    async fn drained(&self) {
        tokio::join!(self.sessions.drained(), self.api.drained());
    }

    async fn reload(&self) {
        // What came of it is in the log.
        let _ = self.reloader.reload().await;
    }

    async fn stop(self) {
        Self::stop(&self).await;
    }
}

/// What operators ask of an agent.
#[derive(Deserialize)]
#[serde(untagged)]
enum AdminRequest {
    Token(stream_tokens::Request),
    Turn(stream_turn::Request),
}

async fn answer(
    (tokens, turn, reloader): (Tokens, Turn, Reloader),
    request: OrReload<AdminRequest>,
) -> Result<Value, Refusal> {
    match request {
        OrReload::Reload => reloaded(reloader.reload().await),
        OrReload::Other(AdminRequest::Token(request)) => tokens.answer(request).await,
        OrReload::Other(AdminRequest::Turn(request)) => turn.answer(request).await,
    }
}

/// Reads the files of the agent again: it takes up relays and STUN servers, all or none of them. An
/// audit log that was moved goes on in a new file.
#[derive(Clone)]
struct Reloader {
    files: Arc<FileReloader<AgentConfig>>,
    turn: Turn,
    audit: AuditLog,
}

impl Reloader {
    async fn reload(&self) -> Result<ReloadReport, String> {
        self.audit.reopen();
        let take_up = async |config: &AgentConfig| {
            let ServerChanges { added, removed, changed } =
                self.turn.take_up(&config.turn).await.context("[turn]")?;
            if added.is_empty() && removed.is_empty() && changed.is_empty() {
                log::info!("relays and STUN servers are the same as before");
            } else {
                log::info!(added:?, removed:?, changed:?; "relays and STUN servers are other ones");
            }
            Ok(())
        };
        self.files.reload(AgentConfig::read, take_up).await
    }
}
