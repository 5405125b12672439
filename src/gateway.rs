//! The gateway: its actors, in the order they depend on each other.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use stream_admin::Admin;
use stream_audit::AuditLog;
use stream_gateway::Views;
use stream_gateway::admin::AdminService;
use stream_http::HttpConfig;
use stream_metrics::{Collectors, Process};
use stream_protocol::Refusal;
use stream_supervisor::{Drain, Supervisor};
use stream_tokens::Tokens;

use crate::audit::AuditSources;
use crate::base::{Base, shut_down};
use crate::config::{self, ConfigError};
use crate::logging::LogConfig;
use crate::operator_audit::OperatorAudit;
use crate::program::Service;
use crate::reload::{OrReload, ReloadReport, Reloader as FileReloader, reloaded};
use crate::service_status::{Away, not_found};
use crate::surroundings::Surroundings;

/// Whose tokens a gateway mints and takes.
const TOKENS: stream_tokens::Service = stream_tokens::Service::Gateway;

/// What the gateway takes up while it runs: what operators may change for all gateways, where they
/// have not. All else takes a restart.
const LIVE: [&str; 4] = [
    "gateway.idle_time_min",
    "gateway.requests_per_second",
    "gateway.share_expiry_h",
    "gateway.shares_per_session",
];

/// The configuration of the gateway, a section for each actor.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayConfig {
    #[serde(default)]
    pub gateway: stream_gateway::Config,
    #[serde(default)]
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
    pub tokens: stream_tokens::Config,
}

impl GatewayConfig {
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
        let unit = format!("stream-gateway {}", self.gateway.unit_name());
        AuditSources::of(TOKENS, unit, &self.audit, &self.tokens, &self.nats)
    }

    fn check(&self) -> anyhow::Result<()> {
        self.audit.check().context("[audit]")?;
        self.tls.check().context("[tls]")?;
        self.nats.check().context("[nats]")?;
        self.tokens.check().context("[tokens]")?;
        self.gateway.check().context("[gateway]")?;
        self.http.check().map_err(anyhow::Error::msg).context("[http]")?;
        Ok(())
    }
}

/// The running gateway.
pub struct Gateway {
    pub supervisor: Supervisor,
    pub admin: Admin,
    pub gateway: stream_gateway::Gateway,
    reloader: Reloader,
    drain: Drain,
    drain_timeout: Duration,
}

impl Gateway {
    /// Starts all actors, which wait in the background for NATS. Needs a running actix system.
    ///
    /// # Errors
    ///
    /// A configuration, file or address cannot be used.
    pub fn start(config: GatewayConfig) -> anyhow::Result<Self> {
        Self::start_in(Surroundings::default(), config)
    }

    /// Starts all actors in the surroundings that it finds, as [`Gateway::start`] does in none.
    ///
    /// # Errors
    ///
    /// Those of [`Gateway::start`].
    pub fn start_in(surroundings: Surroundings, config: GatewayConfig) -> anyhow::Result<Self> {
        let started_with = config.clone();
        let audit = config.audit_sources();
        let base = Base::start(TOKENS, &audit.unit, config.tls, config.nats, &config.tokens)?;
        let Base { supervisor, certificates, bridge, drain } = base;
        let audit = audit.start(&bridge)?;
        let tokens = Tokens::start(config.tokens, TOKENS, bridge.clone(), &supervisor)?;
        let page_base = config.gateway.page_base();
        let views = Views::start(&bridge, config.gateway.settings(), &supervisor);
        let service = AdminService { views: views.clone(), tokens: tokens.clone(), page_base };
        let reloader = Reloader {
            files: Arc::new(FileReloader::new(
                &surroundings,
                certificates.clone(),
                started_with,
                &LIVE,
            )),
            views: views.clone(),
            audit: audit.clone(),
        };
        let asked = (service, reloader.clone());
        let handler = move |request| answer(asked.clone(), request);
        let drain_timeout = config.admin.drain();
        let witness = OperatorAudit(audit.clone());
        let admin =
            Admin::start(config.admin, config.debug, &supervisor, &drain, witness, handler)?;
        let metrics = Collectors::new(vec![
            Box::new(Process::started_now()),
            Box::new(certificates.clone()),
            Box::new(bridge),
        ]);
        let gateway = stream_gateway::Gateway::start(
            config.gateway,
            (config.http, surroundings.listener),
            (certificates.identity(), metrics),
            views,
            (tokens, audit),
            &drain,
            &supervisor,
        )?;
        Ok(Self { supervisor, admin, gateway, reloader, drain, drain_timeout })
    }

    /// Lets requests under way finish, then stops the actors, the last one started first.
    pub async fn stop(&self) {
        self.gateway.stop().await;
        self.admin.remove();
        shut_down(&self.supervisor).await;
        // What was noted by the way is on the disk then.
        let _ = self.reloader.audit.head().await;
    }
}

impl Service for Gateway {
    async fn fatal(&self) -> String {
        self.supervisor.fatal().await
    }

    fn supervisor(&self) -> Supervisor {
        self.supervisor.clone()
    }

    async fn away(&self) -> Away {
        not_found(self.gateway.readiness().await)
    }

    fn drain(&self) -> &Drain {
        &self.drain
    }

    fn drain_timeout(&self) -> Duration {
        self.drain_timeout
    }

    async fn drained(&self) {
        self.gateway.drained().await;
    }

    async fn reload(&self) {
        // What came of it is in the log.
        let _ = self.reloader.reload().await;
    }

    async fn stop(self) {
        Self::stop(&self).await;
    }
}

async fn answer(
    (service, reloader): (AdminService, Reloader),
    request: OrReload<stream_gateway::admin::Request>,
) -> Result<Value, Refusal> {
    match request {
        OrReload::Reload => reloaded(reloader.reload().await),
        OrReload::Other(request) => service.handle(request).await,
    }
}

/// Reads the files of the gateway again. An audit log that was moved goes on in a new file.
#[derive(Clone)]
struct Reloader {
    files: Arc<FileReloader<GatewayConfig>>,
    views: Views,
    audit: AuditLog,
}

impl Reloader {
    async fn reload(&self) -> Result<ReloadReport, String> {
        self.audit.reopen();
        let take_up = async |config: &GatewayConfig| {
            self.views.set_file_settings(config.gateway.settings());
            Ok(())
        };
        self.files.reload(GatewayConfig::read, take_up).await
    }
}
