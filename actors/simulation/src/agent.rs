//! An agent: the actors that it has, on one thread.

use std::sync::Arc;
use std::time::Duration;

use stream_bridge::Bridge;
use stream_pki::Seal;
use stream_sessions::{Config, Dependencies, Sessions};
use stream_supervisor::{Drain, Supervisor};
use stream_tokens::{Service, Tokens};
use stream_turn::Turn;

use crate::ams_service::AmsOfUnit;
use crate::judge::LEASE_S;
use crate::process::Process;
use crate::server::Server;
use crate::site::Site;
use crate::world::Shared;

/// How long an agent may take to drain.
const DRAIN: Duration = Duration::from_secs(60);

/// How often it is looked whether it is ready.
const READY_LOOK: Duration = Duration::from_millis(100);

/// How long its actors may take to stop.
const SHUT_DOWN: Duration = Duration::from_secs(10);

/// A running agent; clones are the same one.
#[derive(Clone)]
pub(crate) struct Agent {
    pub(crate) process: Process,
    pub(crate) sessions: Sessions,
    pub(crate) tokens: Tokens,
    drain: Drain,
    pub(crate) supervisor: Supervisor,
}

impl Agent {
    /// Starts one; there is none if it dies by that.
    pub(crate) async fn start(world: &Shared, name: &str) -> Option<Self> {
        let process = Process::start(world, name);
        let server = Arc::new(Server::new(world, process.id()));
        let ams = Arc::new(AmsOfUnit::new(world, process.id()));
        let config = config(name);
        let started = process.run(async move {
            let (site, supervisor) = (Site::get(), Supervisor::on_this_thread());
            let bridge = Bridge::simulated(server, &supervisor);
            let ams = site.ams.start(ams, &supervisor);
            let files = site.tokens("agent");
            let turn = stream_turn::Config {
                servers: Vec::new(),
                pools: Vec::new(),
                stun: Vec::new(),
                lifetime_s: 3600,
                lifetime_without_renewal_s: None,
                probe_s: 10,
                sealing_key: files.sealing_key.clone(),
                first_secret: site.file("turn.secret"),
                state: files.state.clone(),
            };
            let seal = Arc::new(Seal::load(&files.sealing_key).expect("a key"));
            let tokens = Tokens::start(files, Service::Agent, bridge.clone(), &supervisor);
            let tokens = tokens.expect("keys");
            let turn = Turn::start(turn, bridge.clone(), &supervisor).expect("no relays");
            let (drain, served) = (Drain::default(), site.served.clone());
            let dependencies = Dependencies { ams, bridge, tokens: tokens.clone(), turn, seal };
            let sessions = Sessions::start(config, served, dependencies, &drain, &supervisor);
            // As a service manager does, before others are sent here.
            while tokens.ready().await.is_err() {
                tokio::time::sleep(READY_LOOK).await;
            }
            (sessions, tokens, drain, supervisor)
        });
        let (sessions, tokens, drain, supervisor) = started.await?;
        Some(Self { process, sessions, tokens, drain, supervisor })
    }

    /// Has the agent leave its sessions to others, and end.
    pub(crate) async fn drain(&self) {
        self.drain.begin(DRAIN);
        let Self { sessions, drain, supervisor, .. } = self.clone();
        let drained = self.process.run(async move {
            drain.completed(async || sessions.drained().await).await;
            sessions.withdraw_presence().await;
            supervisor.shut_down(SHUT_DOWN).await;
        });
        drained.await;
        self.process.kill();
    }
}

fn config(name: &str) -> Config {
    let json = serde_json::json!({
        "name": name,
        "url": format!("https://{name}.example:9033"),
        "pin": false,
        "capacity": 20,
        "boot_timeout_s": 60,
        "sweep_s": 5,
        "sighting_s": 15,
        "lease_s": LEASE_S,
        "restart_grace_s": 20,
        "failed_instance_s": 30,
        "failed_instances": 3,
    });
    serde_json::from_value(json).expect("a configuration")
}
