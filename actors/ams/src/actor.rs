use std::time::Duration;

use actix::Message;
use stream_pki::{FileWatch, Fingerprint};
use stream_protocol::Application;
use stream_supervisor::{
    Backoff, Context, Handler, Limits, Mailbox, Mode, Reply, RestartPolicy, Supervisor, Worker,
    jittered,
};

use crate::agent_api::PinUpdate;
use crate::client::AmsClient;
use crate::error::AmsError;
use crate::events::{self, EventChannels};
use crate::instance::{Instance, LaunchInstance};
use crate::metrics::AmsMetrics;
use crate::probe::probe;
use crate::response::Cluster;
use crate::{Config, ConnectionStatus, Deletion};

/// From a good probe to the next one.
const PROBE_INTERVAL: Duration = Duration::from_secs(30);

/// From a bad probe to the next one: AMS is used again soon after its return.
const PROBE_RETRY: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(2));

/// The shortest time between two probes, however many are requested.
const MIN_PROBE_INTERVAL: Duration = Duration::from_millis(500);

/// The most requests that one message takes, each as long as it may: the launch of an image, or a
/// deletion that has to be forced.
const MAX_CALLS: u32 = 6;

/// Time to spare, so that the deadline of a request strikes before that of its message.
const MARGIN: Duration = Duration::from_secs(5);

pub(crate) fn start(
    config: &Config,
    channels: &EventChannels,
    supervisor: &Supervisor,
) -> Result<(Mailbox<Actor>, AmsMetrics), AmsError> {
    Ok(start_with(AmsClient::new(config)?, config, channels, supervisor))
}

/// Starts the actor, which asks by `client`.
pub(crate) fn start_with(
    client: AmsClient,
    config: &Config,
    channels: &EventChannels,
    supervisor: &Supervisor,
) -> (Mailbox<Actor>, AmsMetrics) {
    let metrics = AmsMetrics::new(client.connections().clone());
    let kept = metrics.clone();
    let handler = Duration::from_secs(config.timeout_s) * MAX_CALLS + MARGIN;
    let limits =
        Limits { handler_timeout: handler, ask_timeout: handler + MARGIN, ..Limits::default() };
    let (channels, reload) = (channels.clone(), Duration::from_secs(config.reload_s));
    // A host: a launch under way should end with its answer, whatever happens beside it.
    let factory = move || Actor::new(client.clone(), channels.clone(), reload, kept.clone());
    let (mode, policy) = (Mode::KeepInFlight, RestartPolicy::default());
    (supervisor.spawn("ams", mode, policy, limits, factory), metrics)
}

#[derive(Message)]
#[rtype(result = "Result<(), AmsError>")]
pub(crate) struct DeleteInstance {
    pub(crate) id_or_name: String,
    pub(crate) how: Deletion,
}

#[derive(Message)]
#[rtype(result = "Result<Option<Instance>, AmsError>")]
pub(crate) struct FindInstance(pub(crate) String);

#[derive(Message)]
#[rtype(result = "Result<Vec<Instance>, AmsError>")]
pub(crate) struct ListInstances {
    pub(crate) tag: String,
}

#[derive(Message)]
#[rtype(result = "Result<Vec<Application>, AmsError>")]
pub(crate) struct ListApplications;

#[derive(Message)]
#[rtype(result = "Result<Vec<String>, AmsError>")]
pub(crate) struct ListImages;

#[derive(Message)]
#[rtype(result = "Result<Cluster, AmsError>")]
pub(crate) struct ReadCluster;

#[derive(Message)]
#[rtype(result = "Option<Cluster>")]
pub(crate) struct LastCluster;

#[derive(Message)]
#[rtype(result = "Result<PinUpdate, AmsError>")]
pub(crate) struct PinAgent {
    pub(crate) url: String,
    pub(crate) fingerprint: Fingerprint,
}

#[derive(Message)]
#[rtype(result = "ConnectionStatus")]
pub(crate) struct GetStatus;

/// A probe has found the cluster, or why AMS is away.
#[derive(Message)]
#[rtype(result = "()")]
struct ProbeFinished(Result<Cluster, String>);

/// State: rebuilt after a crash, seen by nobody else.
pub(crate) struct Actor {
    client: AmsClient,
    status: ConnectionStatus,
    /// The cluster of the last good probe; its id does not change.
    cluster: Option<Cluster>,
    channels: EventChannels,
    /// Between two reads of the certificate files.
    reload: Duration,
    metrics: AmsMetrics,
    certificates: Option<FileWatch>,
}

impl Actor {
    fn new(
        client: AmsClient,
        channels: EventChannels,
        reload: Duration,
        metrics: AmsMetrics,
    ) -> Self {
        let status =
            ConnectionStatus { connected: false, error: Some("not reached yet".to_owned()) };
        Self { client, status, cluster: None, channels, reload, metrics, certificates: None }
    }

    /// Has the files of TLS looked at for as long as the actor lives. A thread of its own reads
    /// them, since this one serves others.
    fn watch_certificates(&mut self) {
        let (client, metrics) = (self.client.clone(), self.metrics.clone());
        let look = move || look_at_certificates(&client, &metrics);
        self.certificates = FileWatch::start(self.reload, look)
            .inspect_err(|error| log::error!(error:%; "ams: the certificates are not looked at"))
            .ok();
    }

    /// Answers with what `work` returns, which metrics know as `call`. A result that contradicts
    /// the status requests a probe, which alone changes the status.
    fn call<T, F>(
        &self,
        call: &'static str,
        work: impl FnOnce(AmsClient) -> F,
    ) -> Reply<Result<T, AmsError>>
    where
        F: Future<Output = Result<T, AmsError>> + 'static,
    {
        let (work, client) = (Box::pin(work(self.client.clone())), self.client.clone());
        let (connected, metrics) = (self.status.connected, self.metrics.clone());
        Reply::later(async move {
            let answer = metrics.observe(call, work).await;
            let away = matches!(answer, Err(AmsError::Unreachable(_) | AmsError::TimedOut));
            if away == connected {
                client.breaker().request_probe();
            }
            answer
        })
    }
}

impl Worker for Actor {
    fn started(&mut self, ctx: &Context<Self>) {
        ctx.spawn(probe_loop(self.client.clone(), self.metrics.clone(), ctx.clone()));
        #[cfg(feature = "simulation")]
        if let Some(service) = self.client.simulated() {
            let service = std::sync::Arc::clone(service);
            return ctx.spawn(events::listen_to_simulated(service, self.channels.clone()));
        }
        self.watch_certificates();
        ctx.spawn(events::listen(self.client.clone(), self.channels.clone()));
    }
}

/// Probes AMS for as long as the actor lives: often while AMS is away, seldom otherwise.
async fn probe_loop(client: AmsClient, metrics: AmsMetrics, ctx: Context<Actor>) {
    let mut failures = 0;
    loop {
        let found = match metrics.observe("probe", Box::pin(probe(&client))).await {
            Ok(server) => Ok(Cluster::from(server)),
            Err(AmsError::Unreachable(cause)) => Err(cause),
            Err(error) => Err(error.to_string()),
        };
        failures = if found.is_ok() { 0 } else { failures + 1 };
        ctx.tell(ProbeFinished(found));
        tokio::time::sleep(MIN_PROBE_INTERVAL).await;
        let _ = tokio::time::timeout(pause(failures), client.breaker().probe_requested()).await;
    }
}

/// Takes up replaced certificates and pins.
fn look_at_certificates(client: &AmsClient, metrics: &AmsMetrics) {
    let refreshed = client.connections().refresh().map_err(|error| error.to_string());
    let is_news = metrics.reload.set(refreshed.as_ref().err().cloned());
    match refreshed {
        Ok(true) => client.breaker().request_probe(),
        Err(error) if is_news => log::warn!("the certificates in use stay: {error}"),
        Ok(false) | Err(_) => {}
    }
}

fn pause(failures: u32) -> Duration {
    match failures {
        0 => jittered(PROBE_INTERVAL),
        failures => PROBE_RETRY.after(failures),
    }
}

/// Returns whether two causes, each `what: detail`, are of one kind. A new detail alone is not
/// logged.
fn is_alike(one: &str, other: &str) -> bool {
    one.split(':').next() == other.split(':').next()
}

impl Handler<ProbeFinished> for Actor {
    fn handle(&mut self, ProbeFinished(found): &ProbeFinished, _: &Context<Self>) -> Reply<()> {
        match found {
            Ok(cluster) if !self.status.connected => {
                log::info!(cluster:% = cluster.name; "ams is reached and trusts us");
            }
            Err(cause) if !self.status.error.as_ref().is_some_and(|old| is_alike(old, cause)) => {
                log::warn!("ams is away: {cause}");
            }
            _ => {}
        }
        if let Ok(cluster) = found {
            self.cluster = Some(cluster.clone());
        }
        self.status =
            ConnectionStatus { connected: found.is_ok(), error: found.as_ref().err().cloned() };
        ().into()
    }
}

impl Handler<LaunchInstance> for Actor {
    fn handle(
        &mut self,
        launch: &LaunchInstance,
        _: &Context<Self>,
    ) -> Reply<Result<String, AmsError>> {
        let launch = launch.clone();
        self.call("launch", |client| async move { client.launch(&launch).await })
    }
}

impl Handler<DeleteInstance> for Actor {
    fn handle(
        &mut self,
        delete: &DeleteInstance,
        _: &Context<Self>,
    ) -> Reply<Result<(), AmsError>> {
        let (id, how) = (delete.id_or_name.clone(), delete.how);
        self.call("delete", |client| async move { client.delete(&id, how).await })
    }
}

impl Handler<FindInstance> for Actor {
    fn handle(
        &mut self,
        find: &FindInstance,
        _: &Context<Self>,
    ) -> Reply<Result<Option<Instance>, AmsError>> {
        let id = find.0.clone();
        self.call("instance", |client| async move { client.instance(&id).await })
    }
}

impl Handler<ListInstances> for Actor {
    fn handle(
        &mut self,
        list: &ListInstances,
        _: &Context<Self>,
    ) -> Reply<Result<Vec<Instance>, AmsError>> {
        let tag = list.tag.clone();
        self.call("instances", |client| async move { client.instances(&tag).await })
    }
}

impl Handler<ListApplications> for Actor {
    fn handle(
        &mut self,
        _: &ListApplications,
        _: &Context<Self>,
    ) -> Reply<Result<Vec<Application>, AmsError>> {
        self.call("applications", |client| async move { client.applications().await })
    }
}

impl Handler<ListImages> for Actor {
    fn handle(
        &mut self,
        _: &ListImages,
        _: &Context<Self>,
    ) -> Reply<Result<Vec<String>, AmsError>> {
        self.call("images", |client| async move {
            let images = client.images().await?;
            Ok(images.into_iter().map(|image| image.name).collect())
        })
    }
}

impl Handler<PinAgent> for Actor {
    fn handle(&mut self, pin: &PinAgent, _: &Context<Self>) -> Reply<Result<PinUpdate, AmsError>> {
        let (url, fingerprint) = (pin.url.clone(), pin.fingerprint);
        self.call("pin_agent", |client| async move { client.pin_agent(&url, fingerprint).await })
    }
}

impl Handler<ReadCluster> for Actor {
    fn handle(&mut self, _: &ReadCluster, _: &Context<Self>) -> Reply<Result<Cluster, AmsError>> {
        match &self.cluster {
            Some(cluster) if self.status.connected => Ok(cluster.clone()).into(),
            _ => self.call("cluster", |client| async move {
                client.server(client.timeout()).await.map(Cluster::from)
            }),
        }
    }
}

impl Handler<LastCluster> for Actor {
    fn handle(&mut self, _: &LastCluster, _: &Context<Self>) -> Reply<Option<Cluster>> {
        self.cluster.clone().into()
    }
}

impl Handler<GetStatus> for Actor {
    fn handle(&mut self, _: &GetStatus, _: &Context<Self>) -> Reply<ConnectionStatus> {
        self.status.clone().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_are_frequent_while_ams_is_away_and_rare_when_it_is_there() {
        for failures in 1..8 {
            assert!(pause(failures) <= PROBE_RETRY.max, "{failures}");
        }
        assert!((PROBE_INTERVAL / 2..=PROBE_INTERVAL).contains(&pause(0)));
    }

    #[test]
    fn only_another_kind_of_cause_is_news() {
        assert!(is_alike("it cannot be reached: reset", "it cannot be reached: refused"));
        assert!(!is_alike("it cannot be reached: reset", "it does not trust us: add it"));
    }
}
