//! A gateway: its actors and endpoints, on one thread.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use stream_bridge::Bridge;
use stream_gateway::admin::{AdminService, Request};
use stream_gateway::simulation::{Answer, ClientSocket, InProcess};
use stream_gateway::{Config, Views};
use stream_supervisor::Supervisor;
use stream_tokens::{Service, Tokens};

use crate::process::Process;
use crate::server::Server;
use crate::site::Site;
use crate::world::Shared;

/// How often it is looked whether it is ready.
const READY_LOOK: Duration = Duration::from_millis(100);

/// A running gateway; clones are the same one.
#[derive(Clone)]
pub(crate) struct Gateway {
    pub(crate) name: String,
    pub(crate) process: Process,
    pub(crate) supervisor: Supervisor,
    bridge: Bridge,
    endpoints: InProcess,
    admin: AdminService,
}

impl Gateway {
    /// Starts one; there is none if it dies by that.
    pub(crate) async fn start(world: &Shared, name: &str) -> Option<Self> {
        let process = Process::start(world, name);
        let server = Arc::new(Server::new(world, process.id()));
        let started = process.run(async move {
            let supervisor = Supervisor::on_this_thread();
            let bridge = Bridge::simulated(server, &supervisor);
            let files = Site::get().tokens("gateway");
            let tokens = Tokens::start(files, Service::Gateway, bridge.clone(), &supervisor);
            let (tokens, config) = (tokens.expect("keys"), config());
            let views = Views::start(&bridge, config.settings(), &supervisor);
            let page_base = config.page_base();
            let admin = AdminService { views: views.clone(), tokens: tokens.clone(), page_base };
            while tokens.ready().await.is_err() {
                tokio::time::sleep(READY_LOOK).await;
            }
            let endpoints = InProcess::start(config, views, tokens, &supervisor).await;
            (endpoints.expect("endpoints"), admin, supervisor, bridge)
        });
        let (endpoints, admin, supervisor, bridge) = started.await?;
        Some(Self { name: name.to_owned(), process, supervisor, bridge, endpoints, admin })
    }

    pub(crate) fn bridge(&self) -> Bridge {
        self.bridge.clone()
    }

    /// Has an endpoint answer a request; there is no answer if the gateway dies before.
    pub(crate) async fn call(
        &self,
        method: &'static str,
        path: String,
        token: &str,
        body: Option<Value>,
    ) -> Option<Answer> {
        let (endpoints, token) = (self.endpoints.clone(), token.to_owned());
        let answer = async move { endpoints.call(method, &path, &token, body).await };
        self.process.run(answer).await
    }

    /// Opens a socket, or tells the status of what refuses it.
    pub(crate) async fn open(&self, path: String) -> Option<Result<ClientSocket, u16>> {
        let endpoints = self.endpoints.clone();
        self.process.run(async move { endpoints.open(&path).await }).await
    }

    /// Makes an account, and returns its token.
    pub(crate) async fn make_account(&self, name: &str) -> Option<String> {
        let admin = self.admin.clone();
        let request = json!({"op": "account.create", "name": name, "expires_at": null});
        let request: Request = serde_json::from_value(request).expect("a request");
        let made = self.process.run(async move { admin.handle(request).await });
        Some(made.await?.ok()?["token"].as_str()?.to_owned())
    }
}

fn config() -> Config {
    Config {
        public_url: Some("https://gateway.example".to_owned()),
        workers: 1,
        client_grace_s: 10,
        first_client_s: 60,
        share_join_interval_s: 0,
        ..Config::default()
    }
}
