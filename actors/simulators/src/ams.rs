//! The management service ([AMS]) as far as a stream agent needs it: HTTPS
//! with optional client certificates, a trust store, applications, one node, instances, operations.
//!
//! Asked by the crate `stream-ams` and by whoever speaks to AMS. Asks its [`Launcher`] to run the
//! program of an instance. Everything is in memory: a restart loses all of it, instances included.
//! [`Ams::set_faults`] makes it as bad as a real one can be.
//!
//! [AMS]: stream_protocol::manual::wire#ams

mod applications;
mod envelope;
mod error;
mod events;
mod faults;
mod images;
mod instances;
mod launcher;
mod lifecycle;
mod listener_tokens;
mod operations;
mod rate_limit;
mod ready_application;
mod routes;
mod service;
mod settings;
mod streaming;
mod trust;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::http::KeepAlive;
use actix_web::middleware::{NormalizePath, from_fn};
use actix_web::{App, HttpServer, web};
use stream_pki::{ClientCertificates, Fingerprint, Identity, ServerIdentity};
use tokio::time::error::Elapsed;

pub use self::faults::Faults;
use self::instances::NewInstance;
pub use self::instances::{Instance, Status};
pub use self::launcher::{
    Boot, InstanceExit, Launcher, idle_instances, scripted_instances, simulated_instances,
    simulated_instances_with,
};
use self::lifecycle::Completion;
pub use self::ready_application::ReadyApplication;
use self::service::Service;

/// The largest request body, in bytes.
const MAX_BODY_BYTES: usize = 1024 * 1024;

/// How an AMS is set up.
pub struct Config {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// What the server shows. Give it SANs: the Go client takes its server name from them.
    pub identity: Identity,
    /// The client certificates that are trusted from the start.
    pub trusted: Vec<Fingerprint>,
    /// Lets a client that knows it add its own certificate; without one no client can.
    pub trust_password: Option<String>,
    /// The applications that there are from the start.
    pub applications: Vec<ReadyApplication>,
    /// From the creation of an instance until it runs.
    pub boot: Duration,
    /// How many instances the one node has room for. A launch beyond is accepted and then fails:
    /// placing an instance is part of the operation.
    pub capacity: usize,
    pub cluster_name: String,
}

/// A running AMS. It serves until [`Ams::stop`] or until the runtime that started it ends.
pub struct Ams {
    service: Arc<Service>,
    server: ServerHandle,
    address: SocketAddr,
    served: ServerIdentity,
}

impl Ams {
    /// Starts an AMS on the present tokio runtime or actix system.
    ///
    /// # Errors
    ///
    /// The address is taken.
    pub fn start(config: Config, launcher: Launcher) -> io::Result<Self> {
        let listener = TcpListener::bind(config.listen)?;
        let address = listener.local_addr()?;
        let service = Arc::new(Service::new(&config, launcher));
        let served = ServerIdentity::new(config.identity);
        let tls = stream_pki::server_config(&served, ClientCertificates::AnyOrNone);

        let shared = Arc::clone(&service);
        let server = HttpServer::new(move || {
            App::new()
                .app_data(web::Data::from(Arc::clone(&shared)))
                .app_data(web::PayloadConfig::new(MAX_BODY_BYTES))
                .app_data(web::QueryConfig::default().error_handler(routes::bad_query))
                .wrap(from_fn(routes::guard))
                .wrap(NormalizePath::trim())
                .configure(routes::configure)
                .default_service(web::to(routes::not_found))
        })
        .on_connect(routes::remember_peer)
        .workers(1)
        .tcp_nodelay(true)
        // A server of Go, as AMS is one, has no timeouts of its own: a connection may stay unused
        // for as long as its client wants, also before the first request.
        .keep_alive(KeepAlive::Os)
        .client_request_timeout(Duration::ZERO)
        .disable_signals()
        .listen_rustls_0_23(listener, Arc::unwrap_or_clone(tls))?
        .run();
        let handle = server.handle();
        service.spawn(async move {
            if let Err(error) = server.await {
                log::error!(error:%; "the AMS simulator stopped serving");
            }
        });
        log::info!(address:%; "the AMS simulator serves");
        Ok(Self { service, server: handle, address, served })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the fingerprint of the server certificate, for clients to pin.
    pub fn fingerprint(&self) -> Fingerprint {
        self.served.current().fingerprint()
    }

    /// Shows another server certificate from the next handshake on.
    pub fn show(&self, identity: Identity) {
        self.served.swap(identity);
    }

    /// Trusts a client certificate from now on.
    pub fn trust(&self, client: Fingerprint) {
        self.service.change(|state| state.trust.insert(client));
    }

    /// Trusts a client certificate no longer.
    pub fn distrust(&self, client: Fingerprint) {
        if self.service.change(|state| state.trust.remove(&client.to_string())).is_err() {
            log::warn!(fingerprint:% = client; "a client was not trusted");
        }
    }

    /// Sets a value of the configuration, as `PATCH /1.0/config` does.
    ///
    /// # Errors
    ///
    /// Refuses, as a sentence, a name that there is not and a value that makes no sense.
    pub fn configure(&self, name: &str, value: &str) -> Result<(), String> {
        let set = self.service.change(|state| state.settings.set(name, value.to_owned()));
        set.map_err(|refused| refused.to_string())
    }

    /// Has things go wrong from now on, or with the default go well again.
    pub fn set_faults(&self, faults: Faults) {
        self.service.change(|state| state.fault_injector.faults = faults);
    }

    /// Returns how many deletions were to be carried out by force, without the hooks.
    pub fn forced_deletions(&self) -> u32 {
        self.service.read(|state| state.forced_deletions)
    }

    /// Returns the headers that the last launch was asked with, names in lower case.
    pub fn launch_headers(&self) -> Vec<(String, String)> {
        self.service.read(|state| state.launch_headers.clone())
    }

    /// Has an instance run that somebody else launched; returns its id. For tests of what is left
    /// alone.
    pub fn plant(&self, name: &str, application: &str, tags: Vec<String>) -> Option<String> {
        let request = NewInstance::of(name, application, tags);
        let operation = self.service.launch(request, Completion::Scheduled).ok()?;
        operation.instance()
    }

    /// Returns the id of the cluster that this AMS manages.
    pub fn cluster_id(&self) -> &str {
        &self.service.cluster_id
    }

    /// Returns the instances as they are now, the oldest first.
    pub fn instances(&self) -> Vec<Instance> {
        self.service.read(|state| state.instances.all().cloned().collect())
    }

    /// Loses the instance called `name` without a word to anybody, as a crash of AMS might.
    pub fn lose(&self, name: &str) {
        self.service.change(|state| {
            let id = state.instances.all().find(|instance| instance.name == name);
            if let Some(id) = id.map(|instance| instance.id.clone()) {
                state.instances.remove(&id);
            }
        });
    }

    /// Returns the instances as soon as they are as `wanted`.
    ///
    /// # Errors
    ///
    /// They are not so within `deadline`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn wait_until(
        &self,
        mut wanted: impl FnMut(&[Instance]) -> bool,
        deadline: Duration,
    ) -> Result<Vec<Instance>, Elapsed> {
        let mut seen = Vec::new();
        let reached = self.service.until(|state| {
            seen = state.instances.all().cloned().collect();
            wanted(&seen)
        });
        tokio::time::timeout(deadline, reached).await?;
        Ok(seen)
    }

    /// Returns how many calls got no answer, because they were to hang.
    pub fn hung(&self) -> u32 {
        self.service.read(|state| state.fault_injector.hung)
    }

    /// Returns as soon as `count` calls hang.
    ///
    /// # Errors
    ///
    /// Fewer hang after `deadline`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn wait_until_hung(&self, count: u32, deadline: Duration) -> Result<(), Elapsed> {
        let reached = self.service.until(|state| state.fault_injector.hung >= count);
        tokio::time::timeout(deadline, reached).await
    }

    /// Publishes a version of an application or takes it back, and tells so.
    ///
    /// # Errors
    ///
    /// Refuses, as a sentence, an application or a version that there is not.
    pub fn publish(&self, app: &str, version: u64, published: bool) -> Result<(), String> {
        let set = routes::set_published(&self.service, app, version, Some(published));
        set.map(drop).map_err(|refused| refused.to_string())
    }

    /// Stops serving, then stops every instance and waits for it, a few seconds at most.
    pub async fn stop(&self) {
        self.service.change(|state| state.stopped = true);
        self.server.stop(false).await;
        self.service.stop_all().await;
    }
}
