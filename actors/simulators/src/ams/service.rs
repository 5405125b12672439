//! What the routes and the lives of the instances share: one state, and news of its changes.

use std::collections::HashMap;
use std::time::Duration;

use stream_protocol::SessionId;
use time::OffsetDateTime;
use tokio::runtime::Handle;
use tokio::sync::{broadcast, watch};

use super::Config;
use super::applications::Application;
use super::events::Event;
use super::faults::{Copies, FaultInjector};
use super::images::{DEFAULT_IMAGES, Images};
use super::instances::Instances;
use super::launcher::Launcher;
use super::listener_tokens::ListenerTokens;
use super::operations::Operations;
use super::rate_limit::RateLimiter;
use super::ready_application::ReadyApplication;
use super::settings::{Settings, TRUST_PASSWORD};
use super::trust::Trust;

pub(crate) struct Service {
    pub(crate) cluster_id: String,
    pub(crate) cluster_name: String,
    pub(super) boot: Duration,
    /// How many instances the node has room for.
    pub(super) capacity: usize,
    pub(super) launcher: Launcher,
    // Where instances live, so that the end of a connection is not theirs.
    runtime: Handle,
    // A watch channel, so that whoever waits for something sees every change and polls nothing.
    state: watch::Sender<State>,
    /// What the listeners hear.
    pub(crate) events: broadcast::Sender<Event>,
}

/// How many events a slow listener may be behind.
const BACKLOG: usize = 1024;

pub(crate) struct State {
    pub(crate) trust: Trust,
    pub(crate) applications: Vec<Application>,
    pub(crate) images: Images,
    pub(crate) instances: Instances,
    pub(crate) operations: Operations,
    pub(crate) settings: Settings,
    pub(crate) rate_limiter: RateLimiter,
    pub(crate) listener_tokens: ListenerTokens,
    /// The instances that boot, run or are about to stop, by their ids.
    pub(crate) runs: HashMap<String, Run>,
    /// Whether the service is over and answers nobody.
    pub(crate) stopped: bool,
    /// What goes wrong.
    pub(crate) fault_injector: FaultInjector,
    /// How many deletions were to leave the hooks out.
    pub(crate) forced_deletions: u32,
    /// What the last launch was asked with.
    pub(crate) launch_headers: Vec<(String, String)>,
}

/// The hold on an instance that lives.
pub(crate) struct Run {
    pub(super) stop: watch::Sender<bool>,
    /// The operation that brought it to life.
    pub(super) launch: String,
}

impl Run {
    pub(super) fn stop(&self) {
        self.stop.send_replace(true);
    }

    pub(super) fn is_stopping(&self) -> bool {
        *self.stop.borrow()
    }
}

impl Service {
    /// Makes the service; its instances live on the present tokio runtime.
    pub(super) fn new(config: &Config, launcher: Launcher) -> Self {
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let mut images = Images::new(&DEFAULT_IMAGES.map(str::to_owned), now);
        let ready = |ready: &ReadyApplication| {
            let image = match &ready.image {
                Some(name) => Some(images.fetch(name, now)),
                None => images.find("").ok(),
            };
            Application::ready(&ready.name, image, now)
        };
        let applications = config.applications.iter().map(ready).collect();
        let mut settings = Settings::default();
        let password = config.trust_password.clone().unwrap_or_default();
        if settings.set(TRUST_PASSWORD, password).is_err() {
            log::warn!("the trust password is too long, there is none");
        }
        let state = State {
            trust: Trust::new(&config.trusted),
            applications,
            images,
            instances: Instances::default(),
            operations: Operations::default(),
            settings,
            rate_limiter: RateLimiter::default(),
            listener_tokens: ListenerTokens::default(),
            runs: HashMap::new(),
            stopped: false,
            fault_injector: FaultInjector::default(),
            forced_deletions: 0,
            launch_headers: Vec::new(),
        };
        Self {
            // The ids of AMS have the form of session ids.
            cluster_id: SessionId::random().to_string(),
            cluster_name: config.cluster_name.clone(),
            boot: config.boot,
            capacity: config.capacity,
            launcher,
            runtime: Handle::current(),
            state: watch::Sender::new(state),
            events: broadcast::Sender::new(BACKLOG),
        }
    }

    pub(crate) fn read<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(&self.state.borrow())
    }

    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut result = None;
        self.state.send_modify(|state| {
            result = Some(change(state));
            // What an instance became is told before the operation that brought it there ends.
            let events = state.instances.events().chain(state.operations.events());
            for event in events.collect::<Vec<_>>() {
                let copies = match state.fault_injector.copies() {
                    Copies::None => 0,
                    Copies::One => 1,
                    Copies::Two => 2,
                };
                for _ in 0..copies {
                    // Mostly nobody listens.
                    let _ = self.events.send(event.clone());
                }
            }
        });
        result.expect("send_modify calls the closure")
    }

    /// Returns once the service is over.
    pub(crate) fn ended(&self) -> impl Future<Output = ()> + 'static {
        let mut changes = self.state.subscribe();
        // Without a sender it is over as well.
        async move { drop(changes.wait_for(|state| state.stopped).await.map(drop)) }
    }

    /// Runs a task that outlives the request it came with. A simulator has no supervisor: the task
    /// itself sees to what fails in it.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(task);
    }

    /// Waits until the state is as `wanted`. The caller sets the deadline.
    pub(crate) async fn until(&self, wanted: impl FnMut(&State) -> bool) {
        let mut changes = self.state.subscribe();
        changes.wait_for(wanted).await.map(drop).expect("the sender is in self");
    }
}
