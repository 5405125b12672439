use std::time::Duration;

use actix::Message;
use stream_protocol::Application;
use stream_supervisor::{
    Context, Handler, Limits, Mailbox, Mode, Reply, RestartPolicy, Supervisor, Worker,
};
use tokio::sync::{broadcast, watch};

use crate::error::AmsError;
use crate::events::{self, Change};
use crate::gate::jittered;
use crate::instance::{Instance, LaunchInstance};
use crate::look::look;
use crate::remote::Remote;
use crate::wire::Cluster;
use crate::{Config, Link};

/// How long after a good look the next one follows.
const RARELY: Duration = Duration::from_secs(30);

/// The longest pause between bad looks: so soon after its return AMS is used again.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The shortest time between two looks, however much is doubted.
const SPACING: Duration = Duration::from_millis(500);

/// How long after the first bad look the next one follows; the pauses then double.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// What AMS tells by itself, for whoever listens.
#[derive(Clone)]
pub(crate) struct Told {
    pub(crate) instances: broadcast::Sender<Change>,
    /// That there are other applications or images.
    pub(crate) catalogue: watch::Sender<()>,
}

/// No message takes more than this many calls.
const MAX_CALLS: u32 = 3;

/// Time to spare, so that a call's own deadline is always the first to strike.
const MARGIN: Duration = Duration::from_secs(5);

pub(crate) fn start(
    config: &Config,
    told: &Told,
    supervisor: &Supervisor,
) -> Result<Mailbox<Actor>, AmsError> {
    let remote = Remote::new(config)?;
    let handler = Duration::from_secs(config.timeout_s) * MAX_CALLS + MARGIN;
    let limits =
        Limits { handler_timeout: handler, ask_timeout: handler + MARGIN, ..Limits::default() };
    let (told, reload) = (told.clone(), Duration::from_secs(config.reload_s));
    // A host: a launch under way should end with its answer, whatever happens beside it.
    Ok(supervisor.spawn("ams", Mode::KeepInFlight, RestartPolicy::default(), limits, move || {
        Actor::new(remote.clone(), told.clone(), reload)
    }))
}

#[derive(Message)]
#[rtype(result = "Result<(), AmsError>")]
pub(crate) struct DeleteInstance(pub(crate) String);

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
#[rtype(result = "Link")]
pub(crate) struct ReadLink;

/// What a look at AMS found: its cluster, or why it is away.
#[derive(Message)]
#[rtype(result = "()")]
struct Looked(Result<Cluster, String>);

/// State: rebuilt after a crash, seen by nobody else.
pub(crate) struct Actor {
    remote: Remote,
    link: Link,
    /// What the last good look found; a cluster does not change its id.
    cluster: Option<Cluster>,
    told: Told,
    /// How often the files are looked at.
    reload: Duration,
}

impl Actor {
    fn new(remote: Remote, told: Told, reload: Duration) -> Self {
        let link = Link { connected: false, error: Some("not reached yet".to_owned()) };
        Self { remote, link, cluster: None, told, reload }
    }

    /// Answers with what `work` returns. When that does not fit what is known of the link, AMS is
    /// looked at anew; the looks alone decide, so that the link has one opinion.
    fn call<T, F>(&self, work: impl FnOnce(Remote) -> F) -> Reply<Result<T, AmsError>>
    where
        F: Future<Output = Result<T, AmsError>> + 'static,
    {
        let (work, remote) = (work(self.remote.clone()), self.remote.clone());
        let connected = self.link.connected;
        Reply::later(async move {
            let answer = work.await;
            let away = matches!(answer, Err(AmsError::Away(_) | AmsError::TimedOut));
            if away == connected {
                remote.gate().doubt();
            }
            answer
        })
    }
}

impl Worker for Actor {
    fn started(&mut self, ctx: &Context<Self>) {
        ctx.spawn(keep_looking(self.remote.clone(), ctx.clone()));
        ctx.spawn(keep_fresh(self.remote.clone(), self.reload));
        ctx.spawn(events::listen(self.remote.clone(), self.told.clone()));
    }
}

/// Looks at AMS for as long as the worker lives: often while it is away, seldom otherwise.
async fn keep_looking(remote: Remote, ctx: Context<Actor>) {
    let mut failures = 0;
    loop {
        let found = match look(&remote).await {
            Ok(server) => Ok(Cluster::from(server)),
            Err(AmsError::Away(cause)) => Err(cause),
            Err(error) => Err(error.to_string()),
        };
        failures = if found.is_ok() { 0 } else { failures + 1 };
        ctx.tell(Looked(found));
        tokio::time::sleep(SPACING).await;
        let _ = tokio::time::timeout(jittered(pause(failures)), remote.gate().doubted()).await;
    }
}

/// Takes up certificates and pins that were replaced, for as long as the worker lives. Reading them
/// is no work for this thread, which is not the only one to have AMS waited for.
async fn keep_fresh(remote: Remote, every: Duration) {
    let mut complaint = None;
    loop {
        tokio::time::sleep(every).await;
        let connections = remote.connections().clone();
        let refreshed = tokio::task::spawn_blocking(move || connections.refresh()).await;
        let refreshed = refreshed.unwrap_or(Ok(false)).map_err(|error| error.to_string());
        match &refreshed {
            Ok(true) => remote.gate().doubt(),
            Ok(false) => {}
            // Once, not at every look.
            Err(error) if complaint.as_ref() == Some(error) => {}
            Err(error) => log::warn!("the certificates in use stay: {error}"),
        }
        complaint = refreshed.err();
    }
}

fn pause(failures: u32) -> Duration {
    match failures {
        0 => RARELY,
        n => FIRST_PAUSE.saturating_mul(2u32.saturating_pow(n - 1)).min(LONGEST_PAUSE),
    }
}

/// Whether two causes, each `what: detail`, tell the same. A new detail alone is no news.
fn is_alike(one: &str, other: &str) -> bool {
    one.split(':').next() == other.split(':').next()
}

impl Handler<Looked> for Actor {
    fn handle(&mut self, Looked(found): &Looked, _: &Context<Self>) -> Reply<()> {
        match found {
            Ok(cluster) if !self.link.connected => {
                log::info!(cluster = cluster.name.as_str(); "ams is reached and trusts us");
            }
            Err(cause) if !self.link.error.as_ref().is_some_and(|old| is_alike(old, cause)) => {
                log::warn!("ams is away: {cause}");
            }
            _ => {}
        }
        if let Ok(cluster) = found {
            self.cluster = Some(cluster.clone());
        }
        self.link = Link { connected: found.is_ok(), error: found.as_ref().err().cloned() };
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
        self.call(|remote| async move { remote.launch(&launch).await })
    }
}

impl Handler<DeleteInstance> for Actor {
    fn handle(
        &mut self,
        delete: &DeleteInstance,
        _: &Context<Self>,
    ) -> Reply<Result<(), AmsError>> {
        let id = delete.0.clone();
        self.call(|remote| async move { remote.delete(&id).await })
    }
}

impl Handler<FindInstance> for Actor {
    fn handle(
        &mut self,
        find: &FindInstance,
        _: &Context<Self>,
    ) -> Reply<Result<Option<Instance>, AmsError>> {
        let id = find.0.clone();
        self.call(|remote| async move { remote.instance(&id).await })
    }
}

impl Handler<ListInstances> for Actor {
    fn handle(
        &mut self,
        list: &ListInstances,
        _: &Context<Self>,
    ) -> Reply<Result<Vec<Instance>, AmsError>> {
        let tag = list.tag.clone();
        self.call(|remote| async move { remote.instances(&tag).await })
    }
}

impl Handler<ListApplications> for Actor {
    fn handle(
        &mut self,
        _: &ListApplications,
        _: &Context<Self>,
    ) -> Reply<Result<Vec<Application>, AmsError>> {
        self.call(|remote| async move { remote.applications().await })
    }
}

impl Handler<ListImages> for Actor {
    fn handle(
        &mut self,
        _: &ListImages,
        _: &Context<Self>,
    ) -> Reply<Result<Vec<String>, AmsError>> {
        self.call(|remote| async move {
            let images = remote.images().await?;
            Ok(images.into_iter().map(|image| image.name).collect())
        })
    }
}

impl Handler<ReadCluster> for Actor {
    fn handle(&mut self, _: &ReadCluster, _: &Context<Self>) -> Reply<Result<Cluster, AmsError>> {
        match &self.cluster {
            Some(cluster) if self.link.connected => Ok(cluster.clone()).into(),
            _ => self.call(|remote| async move {
                remote.server(remote.timeout()).await.map(Cluster::from)
            }),
        }
    }
}

impl Handler<ReadLink> for Actor {
    fn handle(&mut self, _: &ReadLink, _: &Context<Self>) -> Reply<Link> {
        self.link.clone().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_grow_rarer_while_ams_is_away_and_are_rare_when_it_is_there() {
        let seconds: Vec<_> = (1..8).map(|failures| pause(failures).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 2, 2, 2, 2, 2]);
        assert_eq!(pause(0), RARELY);
        assert_eq!(pause(u32::MAX), LONGEST_PAUSE);
    }

    #[test]
    fn only_another_kind_of_cause_is_news() {
        assert!(is_alike("it cannot be reached: reset", "it cannot be reached: refused"));
        assert!(!is_alike("it cannot be reached: reset", "it does not trust us: add it"));
    }
}
